#pragma once

#include <cstdint>
#include <vector>

#include "decoder/forward.h"
#include "taesr/decoder.h"

namespace taesr {

/// Where a sequence's keys and values lie on a device. All layers that the same tokens pass share a list of
/// entries: a page of the list has a slot for each of them. List 0 is of those that all tokens pass (before,
/// in the first recursion, and after); with KvCaching::kFull each further recursion has a list of its own.
class KvLayout {
 public:
  KvLayout(const DecoderConfig& config, KvCaching caching);

  [[nodiscard]] std::int64_t lists() const { return lists_; }
  /// Layers whose keys a page of a list holds.
  [[nodiscard]] std::int64_t slots(std::int64_t list) const { return list == 0 ? slots_ : stages_.block; }
  /// Of layer `layer`, if it is not in a later recursion: its slot in list 0.
  [[nodiscard]] std::int64_t slot(std::int64_t layer) const {
    return slot_of_[static_cast<std::size_t>(layer)];
  }
  /// Whether it computes keys and values, or reads those of an earlier one.
  [[nodiscard]] bool stores(std::int64_t layer) const { return stores_[static_cast<std::size_t>(layer)]; }

  /// The list that recursion `recursion` of the shared layers reads, and how much lower its slots are there
  /// than in list 0.
  [[nodiscard]] std::int64_t list_of(std::int64_t recursion) const { return lists_ > 1 ? recursion : 0; }
  [[nodiscard]] std::int64_t shift(std::int64_t list) const { return list == 0 ? 0 : stages_.ends; }
  /// Whether tokens leave entries in this recursion.
  [[nodiscard]] bool adds(std::int64_t recursion) const { return recursion == 0 || lists_ > 1; }

  /// Numbers of one entry in one slot.
  [[nodiscard]] std::int64_t entry_size() const { return entry_size_; }
  /// Layers that read a list.
  [[nodiscard]] std::int64_t readers(std::int64_t list) const;

 private:
  LayerStages stages_;
  std::int64_t layers_;
  std::int64_t lists_;
  std::int64_t slots_ = 0;
  std::int64_t entry_size_;
  std::vector<std::int64_t> slot_of_;
  std::vector<bool> stores_;
};

}  // namespace taesr
