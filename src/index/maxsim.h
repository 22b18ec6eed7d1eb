#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "index/container.h"
#include "index/id_list.h"
#include "index/token_codec.h"
#include "taesr/collection.h"
#include "taesr/export.h"
#include "taesr/matrix.h"

namespace taesr {

/// Compressed token vectors of texts, for late interaction (ColBERT, Khattab and Zaharia 2020): a text's
/// score is the sum over the query's tokens of the largest product with a token of the text, here as its
/// codes decode. A text without tokens gets minus the number of query tokens, which no text of unit vectors
/// falls below.
///
/// Thread safety: const methods may be called concurrently.
class TAESR_API TokenIndex {
 public:
  explicit TokenIndex(TokenCodec codec) : codec_(std::move(codec)) {}

  /// Adds a text of `tokens` [tokens, dimension], perhaps none; `id` must be above the last one.
  void append(std::int64_t id, const Matrix& tokens);
  /// The same from codes of this index's codec. Throws FormatError for codes that cannot be.
  void append_codes(std::int64_t id, std::span<const std::uint8_t> codes);
  /// Unknown ids are ignored. Past 30% of deleted texts their codes are dropped.
  void remove(const IdList& ids);

  /// Exact scores of those of `ids` (ascending) that the index has, best first.
  [[nodiscard]] std::vector<Candidate> score(const Matrix& query, const IdList& ids) const;

  /// Texts likely to score high, at most `count`, ids ascending: those with a token at one of the `probes`
  /// centroids nearest to a query token, by what the centroids alone would score. Among `allowed` where given.
  [[nodiscard]] IdList candidates(const Matrix& query, std::size_t count, std::size_t probes = 8,
                                  const IdList* allowed = nullptr) const;

  [[nodiscard]] const TokenCodec& codec() const { return codec_; }
  [[nodiscard]] std::size_t size() const { return live_count_; }
  /// Token vectors of all texts, deleted ones too until they are dropped.
  [[nodiscard]] std::size_t token_count() const { return codes_.size() / codec_.code_size(); }
  [[nodiscard]] IdList live_ids() const;
  /// The largest id in the index; 0 when there is none.
  [[nodiscard]] std::int64_t last_id() const { return ids_.empty() ? 0 : ids_.back(); }

  [[nodiscard]] std::vector<IndexSection> save() const;
  /// Throws FormatError for sections that cannot be such an index.
  [[nodiscard]] static TokenIndex load(const IndexFile& file);

 private:
  void drop_deleted();
  void check_query(const Matrix& query) const;

  TokenCodec codec_;
  IdList ids_;                                  // by slot, ascending
  std::vector<std::uint64_t> borders_ = {0};    // tokens of slot i are [borders_[i], borders_[i + 1])
  std::vector<std::uint8_t> deleted_;           // by slot
  std::vector<std::uint8_t> codes_;             // of all tokens
  std::vector<std::vector<std::uint32_t>> slots_of_;  // by centroid: texts with a token there, ascending
  std::size_t live_count_ = 0;
};

}  // namespace taesr
