#pragma once

#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "support/fake_embedder.h"

namespace taesr::testing {

/// A FakeEmbedder with the heads given: a sparse vector has a piece for each word, its weight the number of
/// times that the word is there, and late vectors are the words' own.
class HeadsEmbedder : public FakeEmbedder {
 public:
  static constexpr std::size_t kTokenSize = 16;

  explicit HeadsEmbedder(ExtraHeads heads = {true, true}, std::string fingerprint = "fake-heads")
      : FakeEmbedder(32, std::move(fingerprint)), heads_(heads) {}

  [[nodiscard]] ExtraHeads extra_heads() const override { return heads_; }
  [[nodiscard]] Embeddings embed_all(std::span<const std::string> texts, Role role, const std::string& depth,
                                     const ExtraHeads& heads) const override {
    Embeddings made = embed(texts, role, depth);
    for (const std::string& text : texts) {
      if (heads.sparse) made.sparse.push_back(sparse_of(text));
      if (heads.late) made.late.push_back(tokens_of(text));
    }
    return made;
  }

  [[nodiscard]] static SparseVector sparse_of(const std::string& text) {
    std::map<int, float> weights;
    for (const std::string& word : words_of(text)) weights[static_cast<int>(hash(word) % 30000)] += 1;
    SparseVector vector;
    for (const auto& [piece, weight] : weights) vector.push_back({piece, weight});
    return vector;
  }

  [[nodiscard]] static Matrix tokens_of(const std::string& text) {
    const auto words = words_of(text);
    Matrix tokens(words.size(), kTokenSize);
    const FakeEmbedder one(kTokenSize);
    for (std::size_t i = 0; i < words.size(); ++i) {
      const auto row = one.embed(std::span(&words[i], 1), Role::kPassage, "easy").vectors;
      std::copy(row.values.begin(), row.values.end(), tokens.row(i).begin());
    }
    return tokens;
  }

  [[nodiscard]] static std::vector<std::string> words_of(const std::string& text) {
    std::istringstream stream(text);
    std::vector<std::string> words;
    for (std::string word; stream >> word;) words.push_back(word);
    return words;
  }

 private:
  static std::uint64_t hash(const std::string& word) {
    std::uint64_t value = 1469598103934665603ULL;
    for (const char c : word) value = (value ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
    return value;
  }

  ExtraHeads heads_;
};

}  // namespace taesr::testing
