#include "retrieval/diversify.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

namespace taesr {
namespace {

Matrix random_units(std::size_t rows, std::size_t columns, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  Matrix vectors(rows, columns);
  for (std::size_t i = 0; i < rows; ++i) {
    double squares = 0;
    for (float& value : vectors.row(i)) {
      value = normal(random);
      squares += double{value} * value;
    }
    for (float& value : vectors.row(i)) value = static_cast<float>(value / std::sqrt(squares));
  }
  return vectors;
}

/// By the definition: of all that are left, the one whose value is largest, over all that were chosen.
std::vector<std::size_t> reference(std::vector<double> scores, const Matrix& vectors, double lambda,
                                   std::size_t k) {
  const double low = *std::ranges::min_element(scores);
  const double high = *std::ranges::max_element(scores);
  for (double& score : scores) score = high > low ? (score - low) / (high - low) : 1;
  std::vector<std::size_t> chosen;
  while (chosen.size() < std::min(k, scores.size())) {
    std::size_t best = scores.size();
    double best_value = 0;
    for (std::size_t i = 0; i < scores.size(); ++i) {
      if (std::ranges::count(chosen, i) > 0) continue;
      double nearest = chosen.empty() ? 0 : -2;
      for (const std::size_t other : chosen) {
        double cosine = 0;
        for (std::size_t d = 0; d < vectors.columns; ++d) {
          cosine += double{vectors.row(i)[d]} * vectors.row(other)[d];
        }
        nearest = std::max(nearest, cosine);
      }
      const double value = lambda * scores[i] - (1 - lambda) * nearest;
      if (best == scores.size() || value > best_value + 1e-6) {
        best = i;
        best_value = value;
      }
    }
    chosen.push_back(best);
  }
  return chosen;
}

std::vector<std::size_t> positions(const std::vector<Diverse>& chosen) {
  std::vector<std::size_t> found;
  for (const Diverse& choice : chosen) found.push_back(choice.position);
  return found;
}

TEST(Diversify, IsMaximalMarginalRelevance) {
  std::mt19937 random(3);
  for (unsigned round = 0; round < 20; ++round) {
    const Matrix vectors = random_units(40, 8, round);
    std::vector<double> scores(40);
    for (double& score : scores) score = std::uniform_real_distribution<double>(-3, 3)(random);
    for (const double lambda : {0.0, 0.3, 0.7, 1.0}) {
      EXPECT_EQ(positions(diversify(scores, vectors, lambda, 12)), reference(scores, vectors, lambda, 12));
    }
  }
}

TEST(Diversify, TakesACopyOfAChosenPassageLast) {
  Matrix vectors(3, 2);
  vectors.values = {1, 0, 1, 0, 0, 1};
  const std::vector<double> scores = {1.0, 0.9, 0.5};
  const auto chosen = diversify(scores, vectors, 0.5, 3);
  EXPECT_EQ(positions(chosen), (std::vector<std::size_t>{0, 2, 1}));
  EXPECT_FLOAT_EQ(static_cast<float>(chosen[2].redundancy), 1);
  EXPECT_EQ(positions(diversify(scores, vectors, 1.0, 2)), (std::vector<std::size_t>{0, 1}));
}

TEST(Diversify, TakesNothingFromNothingAndAllOfLessThanAskedFor) {
  EXPECT_TRUE(diversify({}, Matrix(), 0.5, 3).empty());
  const std::vector<double> equal = {2.0, 2.0};
  EXPECT_EQ(diversify(equal, random_units(2, 4, 1), 0.5, 100).size(), 2u);
  EXPECT_TRUE(diversify(equal, random_units(2, 4, 1), 0.5, 0).empty());
}

}  // namespace
}  // namespace taesr
