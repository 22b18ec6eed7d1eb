#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "decoder/weights.h"

namespace taesr {

/// Decides which tokens of a run pass which recursions of the shared layers, each by its own states alone
/// (Bae et al. 2025, arXiv 2507.10524, section 2.2).
class Router {
 public:
  Router(const DecoderConfig& config, const DecoderWeights& weights) : config_(config), weights_(weights) {}

  /// The tokens that pass `recursion`, ascending; of those that passed the one before. `states` [tokens,
  /// hidden].
  void choose(std::int64_t recursion, const std::vector<float>& states, std::vector<std::int64_t>& tokens);

  /// Puts the result of a recursion in a token's states. Tokens may be merged by several threads.
  void merge(std::int64_t recursion, std::int64_t token, const float* result, float* state) const;

 private:
  [[nodiscard]] float score(std::int64_t router, const float* state) const;
  void choose_depths(const std::vector<float>& states, std::size_t tokens);

  const DecoderConfig& config_;
  const DecoderWeights& weights_;
  std::vector<float> probability_;    // by token, of its last choice
  std::vector<std::int64_t> depth_;   // by token, with token choice: its last recursion
};

}  // namespace taesr
