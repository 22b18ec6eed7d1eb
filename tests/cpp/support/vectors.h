#pragma once

#include <cmath>
#include <cstddef>
#include <random>
#include <span>
#include <vector>

namespace taesr::testing {

inline double dot(std::span<const float> a, std::span<const float> b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

inline void normalise(std::vector<float>& vector) {
  double squares = 0;
  for (const float value : vector) squares += double{value} * value;
  for (float& value : vector) value = static_cast<float>(value / std::sqrt(squares));
}

inline std::vector<float> random_unit_vector(std::mt19937& random, std::size_t dimension) {
  std::normal_distribution<float> normal;
  std::vector<float> vector(dimension);
  for (float& value : vector) value = normal(random);
  normalise(vector);
  return vector;
}

/// Unit vectors around `clusters` centres, as embeddings of texts about so many topics are.
inline std::vector<std::vector<float>> clustered_vectors(std::mt19937& random, std::size_t count,
                                                         std::size_t dimension, std::size_t clusters) {
  std::vector<std::vector<float>> centres;
  for (std::size_t i = 0; i < clusters; ++i) centres.push_back(random_unit_vector(random, dimension));
  std::vector<std::vector<float>> vectors;
  for (std::size_t i = 0; i < count; ++i) {
    std::vector<float> vector = random_unit_vector(random, dimension);
    const std::vector<float>& centre = centres[random() % clusters];
    for (std::size_t j = 0; j < dimension; ++j) vector[j] = 0.7f * vector[j] + centre[j];
    normalise(vector);
    vectors.push_back(std::move(vector));
  }
  return vectors;
}

}  // namespace taesr::testing
