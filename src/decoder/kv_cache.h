#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "taesr/decoder.h"

namespace taesr {

/// Keys and values of the tokens that a sequence has passed (Bae et al. 2025, arXiv 2507.10524, section 2.3).
///
/// Layers keep lists of their own, each entry with its token's position: a token that does not reach a layer
/// leaves nothing there. With KvCaching::kShared all applications of a shared layer read the entries of the
/// first.
class KvCache {
 public:
  KvCache(const DecoderConfig& config, KvCaching caching);

  /// Entries of one layer, in the order of their positions. Keys have their rotary positions.
  struct Entries {
    std::vector<std::int64_t> positions;
    std::vector<float> keys;    // [entries, kv_heads * head_dim]
    std::vector<float> values;  // [entries, kv_heads * head_dim]

    /// Number of entries at or before `position`.
    [[nodiscard]] std::size_t visible(std::int64_t position) const;
  };

  /// Whether this layer computes keys and values; if not it reads those of an earlier one.
  [[nodiscard]] bool stores(std::int64_t layer) const;
  [[nodiscard]] const Entries& entries(std::int64_t layer) const {
    return slots_[slot_of_[static_cast<std::size_t>(layer)]];
  }
  /// Adds tokens at positions above all before. Only for layers that store.
  void append(std::int64_t layer, std::span<const std::int64_t> positions, const float* keys,
              const float* values);

  /// Position of the next token.
  [[nodiscard]] std::int64_t length() const { return length_; }
  void advance(std::int64_t tokens) { length_ += tokens; }

  /// Memory of all keys and values.
  [[nodiscard]] std::size_t bytes() const;

 private:
  std::size_t width_;
  std::int64_t length_ = 0;
  std::vector<std::size_t> slot_of_;        // by layer
  std::vector<std::int64_t> first_layer_;   // by slot
  std::vector<Entries> slots_;
};

}  // namespace taesr
