#pragma once

#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

#include "model/packed_layout.h"
#include "model/weights.h"
#include "taesr/config.h"
#include "taesr/export.h"

namespace taesr {

// The depth router sees a text after the entry layers alone and guesses the least depth that gives it the
// neighbours of the greatest. Differentiable, but for the choice.

/// What the router reads of each sequence: the mean of its entry states, and the logarithm of its tokens.
/// entry [T, hidden] -> float32 [B, hidden + 1].
[[nodiscard]] TAESR_API at::Tensor router_features(const at::Tensor& entry, const PackedLayout& layout);

/// Scores of the classes easy, medium, hard: float32 [B, 3].
[[nodiscard]] TAESR_API at::Tensor router_logits(const at::Tensor& features, const RouterWeights& router);

/// The smallest class (0 easy, 1 medium, 2 hard) that is enough with probability `confidence`: that and
/// those below it have as much together. `probabilities` has one value a class; of 0 it is always easy.
[[nodiscard]] TAESR_API int router_class(std::span<const float> probabilities, double confidence);

/// Recursions of a class.
[[nodiscard]] TAESR_API int recursions_of_class(const TAESRConfig& config, int depth_class);

}  // namespace taesr
