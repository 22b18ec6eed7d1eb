#include "decoder/forward.h"

#include <numeric>

namespace taesr {
namespace {

/// Whether recursions pass the same layers one after the other, and not each layer several times at once.
bool recurs_in_blocks(const DecoderConfig& config) {
  return config.sharing == LayerSharing::kCycle || config.sharing == LayerSharing::kMiddleCycle;
}

}  // namespace

LayerStages::LayerStages(const DecoderConfig& config)
    : ends(recurs_in_blocks(config) ? config.end_layers() : 0),
      block(recurs_in_blocks(config) ? config.block_layers() : config.layers),
      recursions(recurs_in_blocks(config) ? config.recursions : 1) {}

void Segment::begin(std::span<const int> tokens, KvCache& cache, LogitsOf wanted, std::size_t enough) {
  cache_ = &cache;
  tokens_.assign(tokens.begin(), tokens.end());
  wanted_ = wanted;
  enough_ = enough;
  first_ = cache.length();
  recursion_ = 0;
  activate_all();
  choices_.assign(tokens.size(), {});
  passed_.assign(tokens.size(), 0);
  finished_ = tokens.empty();
  logits_ = {};
  best_ = {};
}

void Segment::activate_all() {
  active_.resize(tokens_.size());
  std::iota(active_.begin(), active_.end(), 0);
}

std::int64_t Segment::first_wanted() const {
  switch (wanted_) {
    case LogitsOf::kAllTokens: return 0;
    case LogitsOf::kLastToken: return count() - 1;
    case LogitsOf::kNone: break;
  }
  return count();
}

const Segment& ForwardPass::run(std::span<const int> tokens, KvCache& cache, LogitsOf wanted,
                                std::size_t enough) {
  only_.begin(tokens, cache, wanted, enough);
  Segment* const segment = &only_;
  while (!only_.finished()) step({&segment, 1});
  return only_;
}

}  // namespace taesr
