#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "decoder/kv_cache.h"
#include "taesr/decoder.h"

namespace taesr {

/// Keys and values in the computer's memory, as the kernels on the CPU read them.
///
/// Layers keep lists of their own, each entry with its token's position: a token that does not reach a layer
/// leaves nothing there. With KvCaching::kShared all applications of a shared layer read the entries of the
/// first.
class HostKvCache final : public KvCache {
 public:
  /// Entries of a page.
  static constexpr std::int64_t kPage = 16;

  HostKvCache(const DecoderConfig& config, KvCaching caching);

  /// Entries of one layer, in the order of their positions. Keys have their rotary positions.
  struct Entries {
    std::vector<std::int64_t> positions;
    /// [kv_heads] of keys [head_dim][kPage], then values [kPage][head_dim]: a register takes one number of
    /// the keys of all a page's entries, and several numbers of one entry's values.
    std::vector<float*> pages;

    /// Number of entries at or before `position`.
    [[nodiscard]] std::int64_t visible(std::int64_t position) const;
  };

  /// Whether this layer computes keys and values; if not it reads those of an earlier one.
  [[nodiscard]] bool stores(std::int64_t layer) const;
  [[nodiscard]] const Entries& entries(std::int64_t layer) const { return slots_[slot(layer)].entries; }

  /// Makes room for tokens at positions above all before. Only for layers that store.
  void add(std::int64_t layer, std::span<const std::int64_t> positions);
  /// Fills an entry: keys and values [kv_heads, head_dim]. Entries may be written by several threads.
  void write(std::int64_t layer, std::int64_t entry, const float* keys, const float* values);

  [[nodiscard]] std::size_t bytes() const override;
  [[nodiscard]] std::size_t bytes_read() const override;

 private:
  struct Slot {
    Entries entries;
    std::vector<std::unique_ptr<float[]>> chunks;  // memory of the pages, some at a time
  };

  [[nodiscard]] std::size_t slot(std::int64_t layer) const {
    return slot_of_[static_cast<std::size_t>(layer)];
  }
  [[nodiscard]] std::size_t entry_bytes() const {
    return static_cast<std::size_t>(2 * kv_heads_ * head_dim_) * sizeof(float);
  }
  [[nodiscard]] std::int64_t page_size() const { return 2 * kv_heads_ * head_dim_ * kPage; }

  std::int64_t kv_heads_;
  std::int64_t head_dim_;
  std::vector<std::size_t> slot_of_;       // by layer
  std::vector<std::int64_t> first_layer_;  // by slot
  std::vector<Slot> slots_;
};

}  // namespace taesr
