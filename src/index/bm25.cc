#include "index/bm25.h"

#include <cmath>
#include <string>
#include <unordered_map>

#include "taesr/errors.h"

namespace taesr {

std::vector<SparseVector> bm25_weights(std::vector<SparseVector> counts, const Bm25Options& options) {
  if (!(options.k1 >= 0) || !std::isfinite(options.k1) || !(options.b >= 0 && options.b <= 1)) {
    throw InvalidArgument("BM25 with k1 " + std::to_string(options.k1) + " and b " + std::to_string(options.b) +
                          "; allowed: k1 of 0 or more, b from 0 to 1");
  }
  std::unordered_map<int, double> idf;  // first the number of texts with the term
  std::vector<double> lengths(counts.size());
  double total_length = 0;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    for (const PieceWeight& entry : counts[i]) {
      if (!(entry.weight > 0) || !std::isfinite(entry.weight))
        throw InvalidArgument("text " + std::to_string(i) + " has a term that occurs " +
                              std::to_string(entry.weight) + " times; allowed: more than 0");
      ++idf[entry.piece];
      lengths[i] += entry.weight;
    }
    total_length += lengths[i];
  }
  const auto n = static_cast<double>(counts.size());
  for (auto& [term, df] : idf) df = std::log(1 + (n - df + 0.5) / (df + 0.5));
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const double saturation = options.k1 * (1 - options.b + options.b * lengths[i] * n / total_length);
    for (PieceWeight& entry : counts[i]) {
      entry.weight = static_cast<float>(idf[entry.piece] * entry.weight / (entry.weight + saturation));
    }
  }
  return counts;
}

}  // namespace taesr
