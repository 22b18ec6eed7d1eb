#pragma once

#include <cstdint>
#include <vector>

#include "decoder/weights.h"

namespace taesr {

/// Decides which tokens pass which recursions of the shared layers, each by its own states alone (Bae et al.
/// 2025, arXiv 2507.10524, section 2.2).
class Router {
 public:
  /// What has been decided about a token.
  struct Choice {
    float probability = 1;   // of the last choice
    std::int64_t depth = 0;  // with token choice: its last recursion
  };

  Router(const DecoderConfig& config, const DecoderWeights& weights)
      : config_(config), weights_(weights), scores_(static_cast<std::size_t>(config.recursions)) {}

  /// Whether a token with this state [hidden], which passed the recursions before, passes this one.
  [[nodiscard]] bool passes(std::int64_t recursion, const float* state, Choice& choice);

  /// Puts the result of a recursion in a token's state.
  void merge(std::int64_t recursion, const Choice& choice, const float* result, float* state) const;

 private:
  [[nodiscard]] float score(std::int64_t router, const float* state) const;
  [[nodiscard]] Choice choose_depth(const float* state);

  const DecoderConfig& config_;
  const DecoderWeights& weights_;
  std::vector<float> scores_;
};

}  // namespace taesr
