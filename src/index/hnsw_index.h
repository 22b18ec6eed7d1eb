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
#include "taesr/export.h"

namespace taesr {

/// What vectors of an index are compared by.
enum class VectorMetric : std::uint8_t {
  kCosine = 0,        // of unit vectors, which others are refused for
  kInnerProduct = 1,  // of vectors of any length
};

/// What an index keeps and how it searches.
struct HnswIndexOptions {
  VectorFormat format = VectorFormat::kFloat32;
  VectorMetric metric = VectorMetric::kCosine;
  HnswOptions graph;
  /// Share of deleted rows, 0 to 1, past which the index is better made anew: they cost memory and time. At 1,
  /// never.
  double compact_beyond = 0.3;
};

/// Finds the chunks whose vectors are nearest to a query's.
///
/// Small collections, prefixes of vectors and filters that leave little are searched exactly; the
/// rest through a graph, which finds nearly all of the nearest.
///
/// Thread safety: const methods may be called concurrently.
class TAESR_API HnswIndex {
 public:
  /// Up to this many vectors an exact search is as fast as the graph.
  static constexpr std::size_t kExactBelow = 2000;

  /// Throws InvalidArgument that names the option out of range.
  explicit HnswIndex(std::size_t dimension, const HnswIndexOptions& options = {});

  /// Stages a row; ids ascend. It is found after the next `link`.
  void append(std::int64_t id, std::span<const float> vector) { table_.append(id, vector); }
  /// Brings the graph up to the rows, on several threads, where there are enough rows for one.
  void link(const HnswGraph::Progress& progress = {});
  /// Unknown ids are ignored.
  void remove(const IdList& ids);

  /// At most k, best first; fewer only when fewer live rows are allowed. `query` is a vector of the
  /// dimension, or a unit vector of fewer values, compared with prefixes; `allowed` are the ids to choose
  /// from. Scores are those of the float32 query with the rows as they are kept.
  [[nodiscard]] std::vector<Candidate> search(std::span<const float> query, std::size_t k,
                                              const IdList* allowed = nullptr) const;

  /// Ids to choose from, looked up once for many searches. Good until the index changes.
  struct Filter {
    std::vector<std::uint32_t> slots;  // ascending
    std::vector<bool> allowed;         // by slot, without deleted ones
  };
  [[nodiscard]] Filter prepare(const IdList& allowed) const;
  [[nodiscard]] std::vector<Candidate> search(std::span<const float> query, std::size_t k,
                                              const Filter& filter) const;

  /// Candidates of later searches, see HnswOptions: more find more and take longer.
  void set_search_width(std::size_t width) { graph_.set_search_width(width); }

  [[nodiscard]] std::size_t size() const { return table_.live(); }
  [[nodiscard]] IdList live_ids() const;
  /// The largest id ever appended; 0 when there is none.
  [[nodiscard]] std::int64_t last_id() const { return table_.ids().empty() ? 0 : table_.ids().back(); }

  /// Whether more rows are deleted than HnswIndexOptions::compact_beyond allows.
  [[nodiscard]] bool needs_compaction() const;
  /// The same without the deleted rows.
  [[nodiscard]] HnswIndex compacted() const;
  [[nodiscard]] const HnswIndexOptions& options() const { return options_; }

  [[nodiscard]] std::vector<IndexSection> save() const;
  /// Throws FormatError for sections that cannot be such an index.
  [[nodiscard]] static HnswIndex load(const IndexFile& file, std::size_t dimension,
                                      const HnswIndexOptions& options = {});

 private:
  [[nodiscard]] std::optional<std::vector<Candidate>> search_graph(
      std::span<const float> query, std::size_t k, const Filter* filter) const;
  [[nodiscard]] bool is_worth_a_walk(std::size_t choice, std::size_t k) const;
  [[nodiscard]] double share_of(std::size_t choice) const {
    return static_cast<double>(choice) / static_cast<double>(table_.size());
  }
  [[nodiscard]] std::vector<Candidate> search_among(std::span<const float> query, std::size_t k,
                                                    const Filter* filter) const;

  HnswIndexOptions options_;
  VectorTable table_;
  HnswGraph graph_;  // empty while there are few rows
};

}  // namespace taesr
