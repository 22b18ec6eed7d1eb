#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "index/container.h"
#include "index/id_list.h"
#include "index/impact_index.h"
#include "taesr/collection.h"
#include "taesr/export.h"
#include "taesr/sparse_vector.h"

namespace taesr {

/// Sparse vectors that come and go: an ImpactIndex, which cannot grow, and beside it the texts that came
/// since it was made, which are scored one by one.
///
/// The impact index has levels of 16 bits, finer than the float16 weights that are stored, so that scores
/// hardly depend on which of the two a text is in.
/// Thread safety: const methods may be called concurrently.
class TAESR_API SparseIndex {
 public:
  /// `id` must be above the last one. Throws InvalidArgument for a vector that does not follow the rules.
  void append(std::int64_t id, SparseVector text);
  /// Unknown ids are ignored.
  void remove(const IdList& ids);

  /// Whether more than a tenth of the texts, and of them more than are quickly scored, came since the impact
  /// index was made, or more than 30% of it are deleted: time to make a new one with all texts.
  [[nodiscard]] bool needs_rebuild() const;
  /// Puts all texts that were appended to an empty index into an impact index.
  void build();

  /// The best texts that share a piece with `query`, at most k, of those in `allowed` where it is given.
  /// Throws InvalidArgument for a query that does not follow the rules of SparseVector.
  [[nodiscard]] std::vector<Candidate> search(const SparseVector& query, std::size_t k,
                                              const IdList* allowed = nullptr) const;

  [[nodiscard]] std::size_t size() const { return base_.size() + recent_.size(); }
  [[nodiscard]] IdList live_ids() const;
  /// The largest id that the index has seen; 0 when there is none.
  [[nodiscard]] std::int64_t last_id() const { return last_id_; }

  [[nodiscard]] std::vector<IndexSection> save() const;
  /// Throws FormatError for sections that cannot be such an index.
  [[nodiscard]] static SparseIndex load(const IndexFile& file);

 private:
  ImpactIndex base_;
  std::vector<std::pair<std::int64_t, SparseVector>> recent_;  // ids ascending, above all of base_
  std::int64_t last_id_ = 0;
};

}  // namespace taesr
