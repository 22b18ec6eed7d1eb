#pragma once

#include <ATen/core/Tensor.h>

namespace taesr::cuda {

/// Whether the kernels take these states: on CUDA, float16 or bfloat16, contiguous, a width they are made for.
[[nodiscard]] bool fuses_gelu(const at::Tensor& x, const at::Tensor& bias);
[[nodiscard]] bool fuses_norm(const at::Tensor& residual);

[[nodiscard]] at::Tensor linear_gelu(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);
[[nodiscard]] at::Tensor linear_add_norm(const at::Tensor& residual, const at::Tensor& x, const at::Tensor& weight,
                                         const at::Tensor& bias, const at::Tensor& gain, const at::Tensor& shift,
                                         double eps);

}  // namespace taesr::cuda
