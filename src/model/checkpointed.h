#pragma once

#include <functional>
#include <vector>

#include <ATen/core/Tensor.h>

namespace taesr {

using TensorFunction = std::function<at::Tensor(const std::vector<at::Tensor>&)>;

/// `function(inputs)`, of which only the inputs are kept for the backward pass, which computes the
/// rest again (gradient checkpointing, Chen et al. 2016, arXiv 1604.06174). The function must be
/// deterministic and its result must depend on tensors with gradients through `inputs` alone.
[[nodiscard]] at::Tensor checkpointed(const TensorFunction& function, const std::vector<at::Tensor>& inputs);

}  // namespace taesr
