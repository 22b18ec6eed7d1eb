#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/byte_io.h"
#include "index/vector_table.h"
#include "taesr/export.h"

namespace taesr {

/// How a graph is made and searched.
struct HnswOptions {
  std::size_t links = 16;                // M of the paper, 2 to 128; the lowest level has twice as many
  std::size_t construction_width = 200;  // candidates for links, 1 to 10000 (ef_construction)
  /// Candidates of a search, 1 to 10000 and 2 k at least (ef). Those with a filter that leaves little take fewer.
  std::size_t search_width = 128;
};

/// Throws InvalidArgument that names the option out of range.
void check_options(const HnswOptions& options);

/// Neighbourhood graph over the rows of a VectorTable for approximate search by inner product
/// (Malkov and Yashunin 2018), over hnswlib's arrays. The table must outlive the graph; only its rows'
/// addresses are held.
///
/// Thread safety: const methods may be called concurrently.
class TAESR_API HnswGraph {
 public:
  explicit HnswGraph(const HnswOptions& options = {});
  ~HnswGraph();
  HnswGraph(HnswGraph&&) noexcept;
  HnswGraph& operator=(HnswGraph&&) noexcept;

  /// Called with rows linked and rows to link, now and then and from any thread, but one at a time.
  using Progress = std::function<void(std::size_t done, std::size_t total)>;

  /// Links the rows from size() to the table's end, on several threads. What `progress` throws ends it, and
  /// the graph is empty then.
  void extend(const VectorTable& table, const Progress& progress = {});
  [[nodiscard]] std::size_t size() const;
  /// Throws InvalidArgument for a width out of range.
  void set_search_width(std::size_t width);

  /// Slots and inner products of about the k nearest rows, in no order, of those with a true value in
  /// `allowed` where it is given, which `share` of all rows have. May return fewer than there are, and returns
  /// nothing once it has passed half as many nodes as are allowed, and twice as many as it was likely to.
  /// `query` is a row in the table's format.
  [[nodiscard]] std::vector<std::pair<std::uint32_t, float>> search(const std::byte* query, std::size_t k,
                                                                    const std::vector<bool>* allowed,
                                                                    double share = 1) const;
  /// How many nodes such a search is likely to pass.
  [[nodiscard]] std::size_t nodes_to_pass(std::size_t k, double share) const;

  /// The links as bytes, and back. Decoding trusts nothing: every count, level and neighbour is
  /// checked before hnswlib sees it, and FormatError thrown for what cannot be a graph over `table`.
  [[nodiscard]] std::string encode() const;
  [[nodiscard]] static HnswGraph decode(ByteReader& reader, const VectorTable& table,
                                        const HnswOptions& options = {});

 private:
  [[nodiscard]] std::size_t width_of(std::size_t k, double share) const;

  struct Impl;
  HnswOptions options_;
  std::unique_ptr<Impl> impl_;
};

}  // namespace taesr
