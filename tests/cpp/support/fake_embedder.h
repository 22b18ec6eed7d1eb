#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <random>
#include <span>
#include <sstream>
#include <string>
#include <utility>

#include "taesr/embedder.h"

namespace taesr::testing {

/// Bag of words: each word is a direction drawn from its letters, a text their normalised sum. Texts
/// that share words are near each other, and everything is deterministic.
class FakeEmbedder : public Embedder {
 public:
  explicit FakeEmbedder(std::size_t dimension = 32, std::string fingerprint = "fake-1")
      : dimension_(dimension), fingerprint_(std::move(fingerprint)) {}

  [[nodiscard]] Embeddings embed(std::span<const std::string> texts, Role,
                                 const std::string& depth) const override {
    Embeddings made;
    made.vectors = Matrix(texts.size(), dimension_);
    for (std::size_t i = 0; i < texts.size(); ++i) embed_one(texts[i], made.vectors.row(i));
    made.depths.assign(texts.size(), depth == "hard" ? 6 : 3);
    return made;
  }
  [[nodiscard]] std::size_t dimension() const override { return dimension_; }
  [[nodiscard]] std::string fingerprint() const override { return fingerprint_; }
  [[nodiscard]] std::size_t count_tokens(const std::string& text) const override {
    std::istringstream words(text);
    std::size_t count = 0;
    for (std::string word; words >> word;) ++count;
    return count;
  }
  [[nodiscard]] std::size_t max_tokens() const override { return 256; }

 private:
  void embed_one(const std::string& text, std::span<float> sum) const {
    std::istringstream words(text);
    for (std::string word; words >> word;) {
      std::uint64_t seed = 1469598103934665603ULL;
      for (const char c : word) seed = (seed ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
      std::mt19937_64 random(seed);
      for (float& value : sum) value += static_cast<float>(static_cast<double>(random()) / 0x1p63 - 1);
    }
    double squares = 0;
    for (const float value : sum) squares += double{value} * value;
    if (squares == 0) {
      sum[0] = 1;
      return;
    }
    for (float& value : sum) value = static_cast<float>(value / std::sqrt(squares));
  }

  std::size_t dimension_;
  std::string fingerprint_;
};

}  // namespace taesr::testing
