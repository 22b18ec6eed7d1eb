#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "index/id_list.h"
#include "index/vector_format.h"
#include "taesr/collection.h"
#include "taesr/export.h"

namespace taesr {

/// Vectors of chunks, in blocks that never move, so that a graph may point into them.
/// A row's position is its slot; ids ascend with slots. Deleted rows stay until the table is rebuilt.
class TAESR_API VectorTable {
 public:
  explicit VectorTable(std::size_t dimension, VectorFormat format = VectorFormat::kFloat32)
      : format_(format, dimension) {}

  /// `id` must be above the last one. Throws InvalidArgument for values that the format cannot hold.
  void append(std::int64_t id, std::span<const float> vector);
  /// The same for a row in the table's format, of `format().bytes()`.
  void append_row(std::int64_t id, const std::byte* row);
  void mark_deleted(std::uint32_t slot);

  [[nodiscard]] const RowFormat& format() const { return format_; }
  [[nodiscard]] std::size_t dimension() const { return format_.dimension(); }
  [[nodiscard]] std::size_t size() const { return ids_.size(); }
  [[nodiscard]] std::size_t live() const { return live_count_; }
  [[nodiscard]] const IdList& ids() const { return ids_; }
  [[nodiscard]] bool is_deleted(std::uint32_t slot) const { return !live_slots_[slot]; }
  /// By slot, whether its row is there still.
  [[nodiscard]] const std::vector<bool>& live_slots() const { return live_slots_; }
  [[nodiscard]] const std::byte* row(std::size_t slot) const {
    return blocks_[slot / kBlockRows].get() + slot % kBlockRows * format_.bytes();
  }

  /// Inner product of a row with a query of its dimension; with a shorter one, the cosine of the row's
  /// prefix of its length with it, if the query is of unit length.
  [[nodiscard]] float score(std::span<const float> query, std::size_t slot) const;

  /// The k live rows of largest score, of those in `slots` where they are given.
  [[nodiscard]] std::vector<Candidate> nearest(std::span<const float> query, std::size_t k,
                                               const std::vector<std::uint32_t>* slots) const;

 private:
  static constexpr std::size_t kBlockRows = 1024;
  std::byte* place(std::size_t slot);

  RowFormat format_;
  std::vector<std::unique_ptr<std::byte[]>> blocks_;
  IdList ids_;
  std::vector<bool> live_slots_;
  std::size_t live_count_ = 0;
};

}  // namespace taesr
