#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <shared_mutex>
#include <span>
#include <string>
#include <vector>

#include "collection/head_indexes.h"
#include "index/container.h"
#include "index/hnsw_index.h"
#include "index/keyword_index.h"
#include "store/document_store.h"
#include "store/row_snapshot.h"

namespace taesr {

/// The indexes of a collection in memory, kept in step with its rows, and their files.
///
/// Rows are the truth. An index is brought from the revision that it was made at to the rows' own by
/// comparing chunk ids, which are never used twice; an index without a known past is made anew.
///
/// Thread safety: searches may run concurrently with each other and with the rest; `open`, `catch_up`
/// and the saves are for one thread at a time.
class DerivedIndexes {
 public:
  DerivedIndexes(std::filesystem::path directory, VectorSpace space, const HnswIndexOptions& dense = {});

  /// Reads the files and catches up with the rows. Returns sentences on what was not as it should be.
  [[nodiscard]] std::vector<std::string> open(const DocumentStore& store);

  /// Follows the rows to their latest revision. Throws FormatError for damaged rows.
  void catch_up(const DocumentStore& store);

  /// Makes all indexes anew from the rows, beside the searches.
  void rebuild(const DocumentStore& store);

  /// Writes the files unless they are of this state already.
  void save();
  /// The same once a tenth of the chunks has changed, so that many small changes cost few writes.
  void save_if_much_changed();

  [[nodiscard]] std::vector<Candidate> search_dense(std::span<const float> query, std::size_t k,
                                                    const IdList* allowed) const;
  [[nodiscard]] std::vector<Candidate> search_keyword(const std::string& query, std::size_t k,
                                                      const IdList* allowed) const;
  [[nodiscard]] std::vector<Candidate> search_sparse(const SparseVector& query, std::size_t k,
                                                     const IdList* allowed) const;
  [[nodiscard]] std::vector<Candidate> search_late(const Matrix& query, std::size_t k,
                                                   const IdList* allowed) const;
  /// Exact scores of those of `ids` that there are, best first.
  [[nodiscard]] std::vector<Candidate> score_late(const Matrix& query, const IdList& ids) const;
  /// Heads beside the dense and the keyword one that can be searched.
  [[nodiscard]] ExtraHeads further_heads() const;
  [[nodiscard]] std::vector<std::vector<TermScore>> keyword_terms(const std::string& query,
                                                                  std::span<const std::int64_t> ids) const;
  [[nodiscard]] bool empty() const;

 private:
  [[nodiscard]] std::filesystem::path path_of(IndexKind kind) const;
  template <typename Load>
  [[nodiscard]] std::optional<std::string> load_file(IndexKind kind, const DocumentStore& store,
                                                     const Load& load);
  void follow(const RowSnapshot& rows);
  void compact(const RowSnapshot& rows);

  std::filesystem::path directory_;
  VectorSpace space_;
  HnswIndexOptions dense_options_;
  mutable std::shared_mutex mutex_;  // of the indexes
  HnswIndex dense_;
  KeywordIndex keyword_;
  HeadIndexes further_;
  Revision revision_;  // of the rows that all indexes show
  std::optional<Revision> saved_;
  std::size_t changed_ = 0;  // chunks added or removed since the files were written
};

}  // namespace taesr
