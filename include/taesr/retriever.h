#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "taesr/collection.h"
#include "taesr/export.h"

namespace taesr {

/// Which heads answer a query.
enum class SearchMode { kDense, kKeyword, kHybrid };

/// "dense", "keyword" or "hybrid"; throws InvalidArgument for anything else.
[[nodiscard]] TAESR_API SearchMode parse_search_mode(const std::string& name);

struct SearchOptions {
  std::size_t k = 10;               // most hits returned, 1 to 10,000
  SearchMode mode = SearchMode::kHybrid;
  std::string depth = "auto";       // of the query's embedding
  std::size_t dim = 0;              // Matryoshka prefix used for the dense head; 0: all
  std::size_t candidates = 100;     // taken from each head before fusion; at least k
  double rrf_k = 60;                // of reciprocal rank fusion
  Collection::Filter filter;
};

/// One result. `ranks` and `scores` are by head ("dense", "keyword"), ranks from 1, and only of the
/// heads that returned the chunk. `score` is the head's own for one head and the fused one for hybrid.
struct Hit {
  StoredChunk chunk;
  double score = 0;
  std::map<std::string, std::size_t> ranks;
  std::map<std::string, double> scores;
};

/// What a search cost, in milliseconds.
struct SearchTimings {
  double encode = 0;
  double retrieve = 0;
  double total = 0;
};

struct SearchResult {
  std::vector<Hit> hits;  // best first
  int depth = 0;          // recursions used for the query; 0 when no embedding was needed
  SearchTimings timings;
};

/// Searches `collection`: the query is embedded by the collection's own embedder, each head returns
/// its candidates, and hybrid fuses them by reciprocal rank (Cormack et al. 2009).
[[nodiscard]] TAESR_API SearchResult search(const Collection& collection, const std::string& query,
                                            const SearchOptions& options = {});

/// Reciprocal rank fusion: score(c) = sum over lists of 1 / (k + rank of c), ranks from 1.
/// Ties are broken by the smaller chunk id. Lists are best first.
[[nodiscard]] TAESR_API std::vector<Candidate> fuse_by_rank(const std::vector<std::vector<Candidate>>& lists,
                                                            double k);

}  // namespace taesr
