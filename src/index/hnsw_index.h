#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "index/container.h"
#include "index/hnsw_graph.h"
#include "index/id_list.h"
#include "index/vector_table.h"
#include "taesr/collection.h"

namespace taesr {

/// Finds the chunks whose unit vectors are nearest to a query's.
///
/// Small collections, prefixes of vectors and filters that leave little are searched exactly; the
/// rest through a graph, which finds nearly all of the nearest.
///
/// Thread safety: const methods may be called concurrently.
class HnswIndex {
 public:
  /// Up to this many vectors an exact search is as fast as the graph.
  static constexpr std::size_t kExactBelow = 2000;

  explicit HnswIndex(std::size_t dimension) : table_(dimension) {}

  /// Stages a row; ids ascend. It is found after the next `link`.
  void append(std::int64_t id, std::span<const float> vector) { table_.append(id, vector); }
  /// Brings the graph up to the rows, on several threads, where there are enough rows for one.
  void link();
  /// Unknown ids are ignored.
  void remove(const IdList& ids);

  /// At most k, best first; fewer only when fewer live rows are allowed. `query` is a unit vector of
  /// the dimension or of fewer values, compared with prefixes; `allowed` are the ids to choose from.
  [[nodiscard]] std::vector<Candidate> search(std::span<const float> query, std::size_t k,
                                              const IdList* allowed = nullptr) const;

  [[nodiscard]] std::size_t size() const { return table_.live(); }
  [[nodiscard]] IdList live_ids() const;
  /// The largest id ever appended; 0 when there is none.
  [[nodiscard]] std::int64_t last_id() const { return table_.ids().empty() ? 0 : table_.ids().back(); }

  /// Deleted rows cost memory and recall: past 30% the index is better made anew.
  [[nodiscard]] bool needs_compaction() const;
  [[nodiscard]] HnswIndex compacted() const;

  [[nodiscard]] std::vector<IndexSection> save() const;
  /// Throws FormatError for sections that cannot be such an index.
  [[nodiscard]] static HnswIndex load(const IndexFile& file, std::size_t dimension);

 private:
  [[nodiscard]] std::optional<std::vector<Candidate>> search_graph(
      std::span<const float> query, std::size_t k, const std::vector<std::uint32_t>* slots) const;

  VectorTable table_;
  HnswGraph graph_;  // empty while there are few rows
};

}  // namespace taesr
