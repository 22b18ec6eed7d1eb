#include "decoder/host_kv_cache.h"

#include <algorithm>

namespace taesr {
namespace {

constexpr std::int64_t kLargestChunk = 16;  // pages

}  // namespace

HostKvCache::HostKvCache(const DecoderConfig& config, KvCaching caching)
    : kv_heads_(config.kv_heads), head_dim_(config.head_dim) {
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    const bool shared = caching == KvCaching::kShared;
    const auto slot = static_cast<std::size_t>(shared ? config.unique_layer(layer) : layer);
    // Unique layers are numbered in the order of their first use.
    if (slot == first_layer_.size()) first_layer_.push_back(layer);
    slot_of_.push_back(slot);
  }
  slots_.resize(first_layer_.size());
}

std::int64_t HostKvCache::Entries::visible(std::int64_t position) const {
  return std::upper_bound(positions.begin(), positions.end(), position) - positions.begin();
}

bool HostKvCache::stores(std::int64_t layer) const { return first_layer_[slot(layer)] == layer; }

void HostKvCache::add(std::int64_t layer, std::span<const std::int64_t> positions) {
  auto& [entries, chunks] = slots_[slot(layer)];
  entries.positions.insert(entries.positions.end(), positions.begin(), positions.end());
  while (static_cast<std::int64_t>(entries.pages.size()) * kPage <
         static_cast<std::int64_t>(entries.positions.size())) {
    // Many sequences have their caches at a time: little more than what is used.
    const auto pages = static_cast<std::int64_t>(entries.pages.size());
    const std::int64_t chunk = std::clamp<std::int64_t>(pages / 4, 1, kLargestChunk);
    chunks.push_back(std::make_unique<float[]>(static_cast<std::size_t>(chunk * page_size())));
    for (std::int64_t i = 0; i < chunk; ++i) entries.pages.push_back(chunks.back().get() + i * page_size());
  }
}

void HostKvCache::write(std::int64_t layer, std::int64_t entry, const float* keys, const float* values) {
  float* to = slots_[slot(layer)].entries.pages[static_cast<std::size_t>(entry / kPage)];
  const std::int64_t lane = entry % kPage;
  for (std::int64_t head = 0; head < kv_heads_; ++head, keys += head_dim_, values += head_dim_) {
    for (std::int64_t i = 0; i < head_dim_; ++i) to[i * kPage + lane] = keys[i];
    to += head_dim_ * kPage;
    std::copy_n(values, head_dim_, to + lane * head_dim_);
    to += head_dim_ * kPage;
  }
}

std::size_t HostKvCache::bytes() const {
  std::size_t entries = 0;
  for (const Slot& slot : slots_) entries += slot.entries.positions.size();
  return entries * entry_bytes();
}

std::size_t HostKvCache::bytes_read() const {
  std::size_t entries = 0;
  for (const std::size_t slot : slot_of_) entries += slots_[slot].entries.positions.size();
  return entries * entry_bytes();
}

}  // namespace taesr
