#include "kernels/fused.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>

#ifdef TAESR_CUDA
#include "kernels/cuda/fused.h"
#endif

namespace taesr {

at::Tensor linear_gelu(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
#ifdef TAESR_CUDA
  if (cuda::fuses_gelu(x, bias)) return cuda::linear_gelu(x, weight, bias);
#endif
  return at::gelu(at::linear(x, weight, bias.to(x.scalar_type())));
}

at::Tensor linear_add_norm(const at::Tensor& residual, const at::Tensor& x, const at::Tensor& weight,
                           const at::Tensor& bias, const at::Tensor& gain, const at::Tensor& shift, double eps) {
#ifdef TAESR_CUDA
  if (cuda::fuses_norm(residual)) return cuda::linear_add_norm(residual, x, weight, bias, gain, shift, eps);
#endif
  const auto dtype = residual.scalar_type();
  const auto sum = residual + at::linear(x, weight, bias.to(dtype));
  return at::layer_norm(sum, {sum.size(1)}, gain.to(dtype), shift.to(dtype), eps);
}

}  // namespace taesr
