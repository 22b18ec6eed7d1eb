#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "index/container.h"
#include "index/id_list.h"
#include "taesr/collection.h"

namespace taesr {

/// Inverted index for BM25 (Robertson and Zaragoza 2009) with Lucene's idf: of each query term t,
///   ln(1 + (N - df + 0.5) / (df + 0.5)) * tf / (tf + k1 * (1 - b + b * length / mean length)).
///
/// Statistics count live chunks only, so scores are those of an index made anew.
/// Thread safety: const methods may be called concurrently.
class KeywordIndex {
 public:
  static constexpr double kK1 = 1.5;
  static constexpr double kB = 0.75;

  /// Indexes the terms of `text`; `id` must be above the last one.
  void append(std::int64_t id, std::string_view text);
  /// Unknown ids are ignored. Past 30% of deleted chunks their postings are dropped.
  void remove(const IdList& ids);

  /// The best chunks that share a term with `query`, at most k; `allowed` are the ids to choose from.
  [[nodiscard]] std::vector<Candidate> search(std::string_view query, std::size_t k,
                                              const IdList* allowed = nullptr) const;

  /// Of each of `ids`, the query's terms that it has, ascending, with their parts of its score in `search`.
  [[nodiscard]] std::vector<std::vector<TermScore>> term_scores(std::string_view query,
                                                                std::span<const std::int64_t> ids) const;

  [[nodiscard]] std::size_t size() const { return live_count_; }
  [[nodiscard]] IdList live_ids() const;
  /// The largest id in the index; 0 when there is none.
  [[nodiscard]] std::int64_t last_id() const { return ids_.empty() ? 0 : ids_.back(); }

  [[nodiscard]] std::vector<IndexSection> save() const;
  /// Throws FormatError for sections that cannot be such an index.
  [[nodiscard]] static KeywordIndex load(const IndexFile& file);

 private:
  struct Posting {
    std::uint32_t slot = 0;
    std::uint32_t frequency = 0;
  };
  using Postings = std::vector<Posting>;  // by ascending slot

  void drop_deleted();
  [[nodiscard]] double idf(const Postings& postings) const;
  [[nodiscard]] float score(const Posting& posting, double weight) const;
  static void load_postings(KeywordIndex& index, const IndexFile& file);

  std::unordered_map<std::string, Postings> terms_;
  IdList ids_;                          // by slot, ascending
  std::vector<std::uint32_t> lengths_;  // terms by slot
  std::vector<std::uint8_t> deleted_;   // by slot
  std::size_t live_count_ = 0;
  std::uint64_t live_length_ = 0;
};

}  // namespace taesr
