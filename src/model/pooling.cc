#include "model/pooling.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/segment_reduce.h>

namespace taesr {

at::Tensor pooled_mean(const at::Tensor& hidden, const PackedLayout& layout) {
  const auto dtype = hidden.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  // In the order of the tokens on every device: a text's sum does not depend on its batch-mates.
  return at::segment_reduce(hidden.to(dtype), "mean", layout.lengths, {}, {}, 0, /*unsafe=*/true);
}

at::Tensor dense_embedding(const at::Tensor& pooled, const Affine& head) {
  const auto dtype = pooled.scalar_type();
  const auto projected = at::linear(pooled, head.weight.to(dtype), head.bias.to(dtype));
  return projected / projected.norm(2, 1, true).clamp_min(1e-12);
}

}  // namespace taesr
