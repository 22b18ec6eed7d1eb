#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "taesr/collection.h"
#include "taesr/export.h"
#include "taesr/fusion.h"

namespace taesr {

/// Which heads answer a query.
enum class SearchMode { kDense, kKeyword, kHybrid, kSparse, kLate };

/// "dense", "keyword", "sparse", "late" or "hybrid", which fuses all heads that the collection has; throws
/// InvalidArgument for anything else.
[[nodiscard]] TAESR_API SearchMode parse_search_mode(const std::string& name);

struct SearchOptions {
  std::size_t k = 10;               // most hits returned, 1 to 10,000
  SearchMode mode = SearchMode::kHybrid;
  std::string depth = "auto";       // of the query's embedding
  std::size_t dim = 0;              // Matryoshka prefix used for the dense head; 0: all
  std::size_t candidates = 0;       // taken from each head before fusion; 0: 100, or k if that is more
  FusionOptions fusion = {};        // of a hybrid search; weighted fusion scores all candidates by all heads
  /// Maximal marginal relevance (Carbonell and Goldstein 1998) among the candidates, 0 to 1: 1 orders by
  /// relevance alone, lower values prefer passages that differ from those before them.
  std::optional<double> mmr = {};
  /// Neighbours, 0 to 100, on either side of a hit in the same section that are joined with it; hits whose
  /// passages then touch become one.
  std::size_t expand = 0;
  /// Progressive search, 0 to 1, in place of `depth`: the query is embedded at depth easy, and again at
  /// depth hard only where the best candidates are hardly better than those that follow. About this share
  /// of queries takes the second step; at 1 all do, without the first. For modes dense and hybrid.
  std::optional<double> effort = {};
  bool explain = false;  // fills in what Explanation holds
  Collection::Filter filter = {};
};

/// Why a hit stands where it does.
struct Explanation {
  std::map<std::string, double> contributions;  // by head; added in this order they are the fused score
  std::vector<TermScore> terms;                 // shared with the query, with their parts of the BM25 score
  int depth = 0;                                // recursions of the passage's embedding
  std::optional<double> redundancy;             // with mmr: its largest cosine with an earlier hit
};

/// One result. `ranks` and `scores` are by head, such as "dense" or "keyword", ranks from 1, and only of the
/// heads that returned the chunk, except that weighted fusion has scores of all heads. `score` is the head's own
/// for one head and the fused one for hybrid.
struct Hit {
  StoredChunk chunk;                  // with `expand`, text and offsets of all that was joined
  double score = 0;
  std::map<std::string, std::size_t> ranks;
  std::map<std::string, double> scores;
  std::vector<std::int64_t> joined;   // with `expand`: ids of the chunks in it, ascending
  std::optional<Explanation> explanation;
};

/// What a search cost, in milliseconds.
struct SearchTimings {
  double encode = 0;  // of a batch, this query's share
  double retrieve = 0;
  double total = 0;
};

struct SearchResult {
  std::vector<Hit> hits;  // best first
  int depth = 0;          // recursions used for the query; 0 when no embedding was needed
  SearchTimings timings;
};

/// Searches `collection`: the query is embedded by the collection's own embedder, each head returns its
/// candidates, and hybrid fuses them. Throws InvalidArgument for options out of range.
[[nodiscard]] TAESR_API SearchResult search(const Collection& collection, const std::string& query,
                                            const SearchOptions& options = {});

/// The same for many queries: they are embedded together and then searched on several threads. `options`
/// are one for all or one for each. An error stops the batch.
[[nodiscard]] TAESR_API std::vector<SearchResult> search_batch(const Collection& collection,
                                                               std::span<const std::string> queries,
                                                               std::span<const SearchOptions> options);

}  // namespace taesr
