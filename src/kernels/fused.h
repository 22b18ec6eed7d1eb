#pragma once

#include <ATen/core/Tensor.h>

namespace taesr {

/// The two ends of a transformer block's products, each in as few passes over memory as the device allows:
/// kernels of our own on CUDA (float16 and bfloat16, built with TAESR_CUDA=ON), ATen's operators elsewhere.
/// Differentiable in every tensor. The vectors (biases, norm gains) may be float32 beside half-precision states.

/// gelu(x W^T + b), the exact form. x [rows, in], weight [out, in], bias [out] -> [rows, out].
[[nodiscard]] at::Tensor linear_gelu(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

/// layer_norm(residual + x W^T + b) * gain + shift (Ba et al. 2016): the residual end of a post-norm block.
/// residual [rows, out], x [rows, in], weight [out, in], the vectors [out] -> [rows, out].
[[nodiscard]] at::Tensor linear_add_norm(const at::Tensor& residual, const at::Tensor& x, const at::Tensor& weight,
                                         const at::Tensor& bias, const at::Tensor& gain, const at::Tensor& shift,
                                         double eps);

}  // namespace taesr
