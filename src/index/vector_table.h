#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "index/distance.h"
#include "index/id_list.h"
#include "taesr/collection.h"

namespace taesr {

/// Unit vectors of chunks, in blocks that never move, so that a graph may point into them.
/// A row's position is its slot; ids ascend with slots. Deleted rows stay until the table is rebuilt.
class VectorTable {
 public:
  explicit VectorTable(std::size_t dimension) : dimension_(dimension), inner_product_(best_inner_product()) {}

  /// `id` must be above the last one.
  void append(std::int64_t id, std::span<const float> vector);
  void mark_deleted(std::uint32_t slot);

  [[nodiscard]] std::size_t dimension() const { return dimension_; }
  [[nodiscard]] std::size_t size() const { return ids_.size(); }
  [[nodiscard]] std::size_t live() const { return ids_.size() - deleted_count_; }
  [[nodiscard]] const IdList& ids() const { return ids_; }
  [[nodiscard]] bool is_deleted(std::uint32_t slot) const { return deleted_[slot] != 0; }
  [[nodiscard]] const std::vector<std::uint8_t>& deleted() const { return deleted_; }
  [[nodiscard]] const float* row(std::size_t slot) const {
    return blocks_[slot / kBlockRows].get() + slot % kBlockRows * dimension_;
  }

  /// The k live rows of largest cosine with the unit vector `query`, which may be shorter than the
  /// rows: then with their prefixes of its length. Only rows in `slots`, where they are given.
  [[nodiscard]] std::vector<Candidate> nearest(std::span<const float> query, std::size_t k,
                                               const std::vector<std::uint32_t>* slots) const;

 private:
  static constexpr std::size_t kBlockRows = 1024;
  [[nodiscard]] float cosine(std::span<const float> query, std::size_t slot) const;

  std::size_t dimension_;
  InnerProduct inner_product_;
  std::vector<std::unique_ptr<float[]>> blocks_;
  IdList ids_;
  std::vector<std::uint8_t> deleted_;  // by slot
  std::size_t deleted_count_ = 0;
};

}  // namespace taesr
