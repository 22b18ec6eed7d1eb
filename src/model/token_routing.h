#pragma once

#include <ATen/core/Tensor.h>

#include "model/packed_layout.h"
#include "model/weights.h"
#include "taesr/config.h"

namespace taesr {

/// The tokens that one recursion works on.
struct ActiveTokens {
  at::Tensor rows;      // int64 [A], ascending
  at::Tensor gate;      // [A, 1], how far each moves from its state towards the recursion's result, 0 to 2
  at::Tensor scores;    // float [T], of all tokens
  PackedLayout layout;  // of the A tokens
};

/// Chooses the tokens of each recursion in turn (Mixture-of-Recursions, arXiv 2507.10524), among those
/// of the recursion before and from the states of their own text alone.
///
/// The gate, 2 sigmoid(score), is how the router learns: nothing else of it is differentiable. It is 1
/// for a router of zeros, so that a model that was trained without routing keeps its function.
class TokenRouter {
 public:
  TokenRouter(const TAESRConfig& config, const TokenRouterWeights& weights, const PackedLayout& layout);

  /// Tokens of recursion `r` (0, 1, ... in turn) by the states x [T, hidden] before it.
  [[nodiscard]] ActiveTokens choose(const at::Tensor& x, int r);

 private:
  [[nodiscard]] ActiveTokens best_of_each_sequence(const at::Tensor& scores, double share) const;
  [[nodiscard]] ActiveTokens not_below_zero(const at::Tensor& scores) const;

  const TAESRConfig& config_;
  const TokenRouterWeights& weights_;
  const PackedLayout& layout_;
  at::Tensor going_;  // bool [T], who has not stopped yet
};

}  // namespace taesr
