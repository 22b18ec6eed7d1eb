#include "decoder/forward.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "decoder/vectors.h"
#include "engine/inference/team.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

/// The pass of some tokens of one sequence; buffers are kept from layer to layer.
class Pass {
 public:
  Pass(const DecoderConfig& config, std::span<const int> tokens, KvCache& cache)
      : config_(config),
        cache_(cache),
        rows_(static_cast<std::int64_t>(tokens.size())),
        positions_(tokens.size()) {
    std::iota(positions_.begin(), positions_.end(), cache.length());
    states_.resize(size(config.hidden_size));
    normed_.resize(size(config.hidden_size));
    mixed_.resize(size(config.hidden_size));
    queries_.resize(size(config.heads * config.head_dim));
    attended_.resize(queries_.size());
    keys_.resize(size(config.kv_heads * config.head_dim));
    values_.resize(keys_.size());
    gate_.resize(size(config.intermediate_size));
    up_.resize(gate_.size());
    find_rotations();
  }

  void embed(const Linear& table, std::span<const int> tokens) {
    for (std::int64_t row = 0; row < rows_; ++row) {
      table.read_row(tokens[static_cast<std::size_t>(row)], states_.data() + row * config_.hidden_size);
    }
  }

  void apply(std::int64_t index, const DecoderLayer& layer) {
    normalise(layer.attention_norm);
    layer.query->apply(normed_.data(), rows_, queries_.data());
    rotate(queries_, config_.heads);
    if (cache_.stores(index)) {
      layer.key->apply(normed_.data(), rows_, keys_.data());
      layer.value->apply(normed_.data(), rows_, values_.data());
      rotate(keys_, config_.kv_heads);
      cache_.append(index, positions_, keys_.data(), values_.data());
    }
    attend(cache_.entries(index));
    layer.output->apply(attended_.data(), rows_, mixed_.data());
    add();
    normalise(layer.mlp_norm);
    layer.gate->apply(normed_.data(), rows_, gate_.data());
    layer.up->apply(normed_.data(), rows_, up_.data());
    vectors::swiglu(gate_.data(), up_.data(), static_cast<std::int64_t>(gate_.size()));
    layer.down->apply(gate_.data(), rows_, mixed_.data());
    add();
  }

  std::vector<float> logits(const std::vector<float>& norm, const Linear& head, LogitsOf wanted) {
    if (wanted == LogitsOf::kNone) return {};
    normalise(norm);
    const std::int64_t first = wanted == LogitsOf::kLastToken ? rows_ - 1 : 0;
    std::vector<float> logits(static_cast<std::size_t>((rows_ - first) * head.out()));
    head.apply(normed_.data() + first * config_.hidden_size, rows_ - first, logits.data());
    return logits;
  }

 private:
  [[nodiscard]] std::size_t size(std::int64_t width) const { return static_cast<std::size_t>(rows_ * width); }

  /// Angles as the reference has them, in float32: at far positions their rounding is part of the model.
  void find_rotations() {
    const std::int64_t half = config_.head_dim / 2;
    cosines_.resize(size(half));
    sines_.resize(size(half));
    for (std::int64_t i = 0; i < half; ++i) {
      const auto exponent = static_cast<float>(2 * i) / static_cast<float>(config_.head_dim);
      const float frequency = 1.0F / std::pow(static_cast<float>(config_.rope_theta), exponent);
      for (std::int64_t row = 0; row < rows_; ++row) {
        const float angle = static_cast<float>(positions_[static_cast<std::size_t>(row)]) * frequency;
        cosines_[static_cast<std::size_t>(row * half + i)] = std::cos(angle);
        sines_[static_cast<std::size_t>(row * half + i)] = std::sin(angle);
      }
    }
  }

  void normalise(const std::vector<float>& gain) {
    for (std::int64_t row = 0; row < rows_; ++row) {
      vectors::rms_norm(states_.data() + row * config_.hidden_size, gain.data(), config_.hidden_size,
                        static_cast<float>(config_.norm_eps), normed_.data() + row * config_.hidden_size);
    }
  }

  void rotate(std::vector<float>& rows, std::int64_t heads) const {
    const std::int64_t half = config_.head_dim / 2;
    for (std::int64_t row = 0; row < rows_; ++row) {
      for (std::int64_t head = 0; head < heads; ++head) {
        float* const first = rows.data() + (row * heads + head) * config_.head_dim;
        vectors::rotate(first, first + half, cosines_.data() + row * half, sines_.data() + row * half, half);
      }
    }
  }

  void attend(const KvCache::Entries& entries) {
    const Team team = rows_ * config_.heads * static_cast<std::int64_t>(entries.positions.size()) < 4096
                          ? Team{}
                          : Team::of_pool();
    team.for_each(rows_ * config_.heads,
                  [&](std::int64_t job) { attend_head(entries, job / config_.heads, job % config_.heads); });
  }

  void attend_head(const KvCache::Entries& entries, std::int64_t row, std::int64_t head) {
    thread_local std::vector<float> weights;
    const std::size_t count = entries.visible(positions_[static_cast<std::size_t>(row)]);
    weights.resize(count);
    const std::int64_t width = config_.kv_heads * config_.head_dim;
    const std::int64_t begin = head / (config_.heads / config_.kv_heads) * config_.head_dim;
    const std::int64_t at = (row * config_.heads + head) * config_.head_dim;
    const float scale = 1.0F / std::sqrt(static_cast<float>(config_.head_dim));
    vectors::attend({.query = queries_.data() + at,
                     .keys = entries.keys.data() + begin,
                     .values = entries.values.data() + begin,
                     .stride = width,
                     .count = static_cast<std::int64_t>(count),
                     .dim = config_.head_dim,
                     .scale = scale},
                    weights.data(), attended_.data() + at);
  }

  void add() {
    for (std::size_t i = 0; i < states_.size(); ++i) states_[i] += mixed_[i];
  }

  const DecoderConfig& config_;
  KvCache& cache_;
  std::int64_t rows_;
  std::vector<std::int64_t> positions_;
  std::vector<float> states_, normed_, mixed_, queries_, attended_, keys_, values_, gate_, up_;  // by row
  std::vector<float> cosines_, sines_;  // [rows, head_dim / 2]
};

}  // namespace

void check_tokens(const DecoderConfig& config, std::span<const int> tokens) {
  if (static_cast<std::int64_t>(tokens.size()) > config.max_positions) {
    throw InvalidArgument(std::to_string(tokens.size()) + " tokens are more than the model's " +
                          std::to_string(config.max_positions) + " positions; shorten the text");
  }
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i] < 0 || tokens[i] >= config.vocab_size) {
      throw InvalidArgument("token " + std::to_string(i) + " is " + std::to_string(tokens[i]) +
                            "; allowed: 0 to " + std::to_string(config.vocab_size - 1));
    }
  }
}

std::vector<float> decoder_forward(const DecoderConfig& config, const DecoderWeights& weights,
                                   std::span<const int> tokens, KvCache& cache, LogitsOf logits) {
  if (tokens.empty()) return {};
  Pass pass(config, tokens, cache);
  pass.embed(*weights.token, tokens);
  for (std::int64_t i = 0; i < config.layers; ++i) {
    pass.apply(i, weights.layers[static_cast<std::size_t>(config.unique_layer(i))]);
  }
  cache.advance(static_cast<std::int64_t>(tokens.size()));
  return pass.logits(weights.final_norm, weights.output_layer(), logits);
}

}  // namespace taesr
