#include "retrieval/diversify.h"

#include <algorithm>
#include <limits>

#include "index/distance.h"

namespace taesr {
namespace {

std::vector<double> scaled(std::span<const double> scores) {
  const auto [low, high] = std::minmax_element(scores.begin(), scores.end());
  std::vector<double> relevance(scores.size(), 1.0);
  if (*high <= *low) return relevance;
  for (std::size_t i = 0; i < scores.size(); ++i) relevance[i] = (scores[i] - *low) / (*high - *low);
  return relevance;
}

}  // namespace

std::vector<Diverse> diversify(std::span<const double> scores, const Matrix& vectors, double lambda,
                               std::size_t k) {
  std::vector<Diverse> chosen;
  if (scores.empty()) return chosen;
  const InnerProduct product = best_inner_product();
  const std::vector<double> relevance = scaled(scores);
  std::vector<double> redundancy(scores.size(), 0.0);
  std::vector<bool> taken(scores.size());
  while (chosen.size() < std::min(k, scores.size())) {
    std::size_t best = 0;
    double best_value = -std::numeric_limits<double>::infinity();
    for (std::size_t i = 0; i < scores.size(); ++i) {
      const double value = lambda * relevance[i] - (1 - lambda) * redundancy[i];
      if (taken[i] || value <= best_value) continue;
      best = i;
      best_value = value;
    }
    taken[best] = true;
    chosen.push_back({best, redundancy[best]});
    for (std::size_t i = 0; i < scores.size(); ++i) {
      if (taken[i]) continue;
      const double cosine = product(vectors.row(best).data(), vectors.row(i).data(), vectors.columns);
      redundancy[i] = chosen.size() == 1 ? cosine : std::max(redundancy[i], cosine);
    }
  }
  return chosen;
}

}  // namespace taesr
