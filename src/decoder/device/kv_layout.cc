#include "decoder/device/kv_layout.h"

#include <algorithm>

namespace taesr {

KvLayout::KvLayout(const DecoderConfig& config, KvCaching caching)
    : stages_(config),
      layers_(config.layers),
      lists_(caching == KvCaching::kFull ? stages_.recursions : 1),
      entry_size_(2 * config.kv_heads * config.head_dim) {
  std::int64_t next = 0;
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    const bool recurs = layer >= stages_.ends + stages_.block && layer < stages_.last();
    // Unique layers are numbered in the order of their first use.
    const std::int64_t slot = caching == KvCaching::kShared ? config.unique_layer(layer) : recurs ? -1 : next;
    stores_.push_back(slot == next);
    next += slot == next ? 1 : 0;
    slot_of_.push_back(slot);
  }
  slots_ = next;
}

std::int64_t KvLayout::readers(std::int64_t list) const {
  return lists_ == 1 ? layers_ : slots(list);
}

}  // namespace taesr
