#pragma once

#include <vector>

#include "taesr/export.h"
#include "taesr/sparse_vector.h"

namespace taesr {

struct Bm25Options {
  double k1 = 1.5;   // 0 or more: how late further occurrences of a term stop to count
  double b = 0.75;   // 0 to 1: how much long texts are held back
};

/// BM25 as sparse vectors: of each text the weights of its terms, such that the sum over a query's terms,
/// each as often as the query has it, is the score that KeywordIndex gives (Lucene's idf).
///
/// `counts` are texts with how often each term occurs, 1 or more.
[[nodiscard]] TAESR_API std::vector<SparseVector> bm25_weights(std::vector<SparseVector> counts,
                                                     const Bm25Options& options = {});

}  // namespace taesr
