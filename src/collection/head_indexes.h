#pragma once

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "index/container.h"
#include "index/id_list.h"
#include "index/maxsim.h"
#include "index/sparse_index.h"
#include "store/row_snapshot.h"

namespace taesr {

/// Removes from `index` what the rows no longer have and returns how much that was. Nothing when the
/// index lacks rows that it ought to have: it is not of these rows.
template <typename Index>
std::optional<std::size_t> drop_removed(Index& index, const IdList& rows) {
  const IdList known = index.live_ids();
  IdList removed;
  std::set_difference(known.begin(), known.end(), rows.begin(), rows.end(), std::back_inserter(removed));
  const auto old_rows = std::upper_bound(rows.begin(), rows.end(), index.last_id()) - rows.begin();
  if (known.size() - removed.size() != static_cast<std::size_t>(old_rows)) return std::nullopt;
  if (!removed.empty()) index.remove(removed);
  return removed.size();
}

/// Indexes of the further heads, each there when the rows say that the collection has the head.
class HeadIndexes {
 public:
  /// What the next `follow` starts from. Throws FormatError.
  void load(IndexKind kind, const IndexFile& file);

  /// Brings the indexes to the rows' state; `ids` are all chunks. Throws FormatError for damaged rows and
  /// for heads that not every chunk has an embedding of.
  void follow(const RowSnapshot& rows, const IdList& ids, const std::string& fingerprint);

  /// The same indexes without what slows searches down, where that is worth it; nothing where it is not.
  [[nodiscard]] std::optional<SparseIndex> rebuilt_sparse(const RowSnapshot& rows,
                                                          const std::string& fingerprint) const;
  void replace_sparse(SparseIndex fresh) { sparse_ = std::move(fresh); }

  [[nodiscard]] const std::optional<SparseIndex>& sparse() const { return sparse_; }
  /// Nothing, too, as long as no text has had tokens.
  [[nodiscard]] const std::optional<TokenIndex>& late() const { return late_; }
  /// Whether the collection has the head of that kind.
  [[nodiscard]] bool has(IndexKind kind) const {
    return kind == IndexKind::kImpact ? has_sparse_ : has_late_;
  }

  /// Best texts by late interaction, at most k: exact among few texts, else among those whose tokens are
  /// near the query's by their centroids.
  [[nodiscard]] std::vector<Candidate> search_late(const Matrix& query, std::size_t k,
                                                   const IdList* allowed) const;

  [[nodiscard]] std::vector<IndexSection> save(IndexKind kind) const;

 private:
  void follow_sparse(const RowSnapshot& rows, const IdList& ids, const std::string& fingerprint);
  void follow_late(const RowSnapshot& rows, const IdList& ids, const std::string& fingerprint,
                   const StoredHead& head);

  bool has_sparse_ = false;
  bool has_late_ = false;
  std::optional<SparseIndex> sparse_;
  std::optional<TokenIndex> late_;
  std::string late_codec_;  // name of the codec of late_
};

}  // namespace taesr
