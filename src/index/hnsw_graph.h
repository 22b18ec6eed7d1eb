#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "index/byte_io.h"
#include "index/vector_table.h"

namespace taesr {

/// Neighbourhood graph over the rows of a VectorTable for approximate search by inner product
/// (Malkov and Yashunin 2018), by hnswlib. The table must outlive the graph; only its rows' addresses
/// are held.
///
/// Thread safety: const methods may be called concurrently.
class HnswGraph {
 public:
  HnswGraph();
  ~HnswGraph();
  HnswGraph(HnswGraph&&) noexcept;
  HnswGraph& operator=(HnswGraph&&) noexcept;

  /// Links the rows from size() to the table's end, on several threads.
  void extend(const VectorTable& table);
  [[nodiscard]] std::size_t size() const;

  /// Slots and inner products of about the k nearest rows, in no order, of those with a true value in
  /// `allowed` where it is given. May return fewer than there are.
  [[nodiscard]] std::vector<std::pair<std::uint32_t, float>> search(const float* query, std::size_t k,
                                                                    const std::vector<bool>* allowed) const;

  /// The links as bytes, and back. Decoding trusts nothing: every count, level and neighbour is
  /// checked before hnswlib sees it, and FormatError thrown for what cannot be a graph over `table`.
  [[nodiscard]] std::string encode() const;
  [[nodiscard]] static HnswGraph decode(ByteReader& reader, const VectorTable& table);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace taesr
