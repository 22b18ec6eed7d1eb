#pragma once

#include <ATen/core/Tensor.h>

#include "model/packed_layout.h"
#include "model/weights.h"
#include "taesr/export.h"

namespace taesr {

// Differentiable. The arithmetic is float32 for states of half precision too.

/// Mean of each sequence's states. hidden [T, hidden] -> float32 [B, hidden].
[[nodiscard]] TAESR_API at::Tensor pooled_mean(const at::Tensor& hidden, const PackedLayout& layout);

/// Affine map of the mean state, made unit length: the dense head, and the one of each subspace.
/// pooled float32 [B, hidden], head.weight [dimensions, hidden] -> float32 [B, dimensions].
[[nodiscard]] TAESR_API at::Tensor dense_embedding(const at::Tensor& pooled, const Affine& head);

}  // namespace taesr
