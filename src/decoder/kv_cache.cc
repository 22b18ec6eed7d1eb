#include "decoder/kv_cache.h"

#include <algorithm>

namespace taesr {

KvCache::KvCache(const DecoderConfig& config, KvCaching caching)
    : width_(static_cast<std::size_t>(config.kv_heads * config.head_dim)) {
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    const bool shared = caching == KvCaching::kShared;
    const auto slot = static_cast<std::size_t>(shared ? config.unique_layer(layer) : layer);
    // Unique layers are numbered in the order of their first use.
    if (slot == first_layer_.size()) first_layer_.push_back(layer);
    slot_of_.push_back(slot);
  }
  slots_.resize(first_layer_.size());
}

std::size_t KvCache::Entries::visible(std::int64_t position) const {
  return static_cast<std::size_t>(std::upper_bound(positions.begin(), positions.end(), position) -
                                  positions.begin());
}

bool KvCache::stores(std::int64_t layer) const {
  return first_layer_[slot_of_[static_cast<std::size_t>(layer)]] == layer;
}

void KvCache::append(std::int64_t layer, std::span<const std::int64_t> positions, const float* keys,
                     const float* values) {
  Entries& entries = slots_[slot_of_[static_cast<std::size_t>(layer)]];
  entries.positions.insert(entries.positions.end(), positions.begin(), positions.end());
  entries.keys.insert(entries.keys.end(), keys, keys + positions.size() * width_);
  entries.values.insert(entries.values.end(), values, values + positions.size() * width_);
}

std::size_t KvCache::bytes() const {
  std::size_t values = 0;
  for (const Entries& entries : slots_) values += entries.keys.size() + entries.values.size();
  return values * sizeof(float);
}

}  // namespace taesr
