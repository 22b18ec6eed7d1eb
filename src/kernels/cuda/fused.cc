#include "kernels/cuda/fused.h"

#include <torch/csrc/autograd/custom_function.h>

#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "kernels/cuda/fused_kernels.h"

namespace taesr::cuda {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

bool is_half(const at::Tensor& x) {
  return x.is_cuda() && (x.scalar_type() == at::kHalf || x.scalar_type() == at::kBFloat16) && x.is_contiguous();
}

HalfType half_type(const at::Tensor& x) {
  return x.scalar_type() == at::kHalf ? HalfType::kFloat16 : HalfType::kBFloat16;
}

/// The vectors as the kernels read them: contiguous float32.
at::Tensor as_float(const at::Tensor& vector) { return vector.to(at::kFloat).contiguous(); }

/// gelu(x + bias), x [rows, width].
struct BiasGelu : torch::autograd::Function<BiasGelu> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& bias) {
    const c10::cuda::CUDAGuard device(x.device());
    const auto offset = as_float(bias);
    auto out = at::empty_like(x);
    bias_gelu_forward(x.const_data_ptr(), offset.const_data_ptr<float>(), out.data_ptr(), x.size(0),
                      static_cast<int>(x.size(1)), half_type(x), c10::cuda::getCurrentCUDAStream());
    context->save_for_backward({x, offset});
    context->saved_data["dtype"] = bias.scalar_type();
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const auto saved = context->get_saved_variables();
    const auto& x = saved[0];
    const c10::cuda::CUDAGuard device(x.device());
    const auto grad_out = grads[0].contiguous();
    auto grad_x = at::empty_like(x);
    auto partial = at::empty({backward_blocks(x.size(0)), x.size(1)}, x.options().dtype(at::kFloat));
    bias_gelu_backward({grad_out.const_data_ptr(), x.const_data_ptr(), saved[1].const_data_ptr<float>(),
                        grad_x.data_ptr(), partial.data_ptr<float>(), x.size(0), static_cast<int>(x.size(1))},
                       half_type(x), c10::cuda::getCurrentCUDAStream());
    return {grad_x, partial.sum(0).to(context->saved_data["dtype"].toScalarType())};
  }
};

/// layer_norm(residual + x + bias) * gain + shift.
struct AddNorm : torch::autograd::Function<AddNorm> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& residual, const at::Tensor& x,
                            const at::Tensor& bias, const at::Tensor& gain, const at::Tensor& shift, double eps) {
    const c10::cuda::CUDAGuard device(x.device());
    const auto offset = as_float(bias), scale = as_float(gain), centre = as_float(shift);
    const auto statistics = x.options().dtype(at::kFloat);
    auto sum = at::empty_like(x), out = at::empty_like(x);
    auto mean = at::empty({x.size(0)}, statistics), rstd = at::empty({x.size(0)}, statistics);
    add_norm_forward({residual.const_data_ptr(), x.const_data_ptr(), offset.const_data_ptr<float>(),
                      scale.const_data_ptr<float>(), centre.const_data_ptr<float>(), sum.data_ptr(), out.data_ptr(),
                      mean.data_ptr<float>(), rstd.data_ptr<float>(), x.size(0), static_cast<int>(x.size(1)),
                      static_cast<float>(eps)},
                     half_type(x), c10::cuda::getCurrentCUDAStream());
    context->save_for_backward({sum, scale, mean, rstd});
    context->saved_data["dtype"] = gain.scalar_type();
    context->saved_data["bias_dtype"] = bias.scalar_type();
    return out;
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const auto saved = context->get_saved_variables();
    const auto& sum = saved[0];
    const c10::cuda::CUDAGuard device(sum.device());
    const auto grad_out = grads[0].contiguous();
    auto grad_sum = at::empty_like(sum);
    auto partial = at::empty({backward_blocks(sum.size(0)), 3, sum.size(1)}, sum.options().dtype(at::kFloat));
    add_norm_backward({grad_out.const_data_ptr(), sum.const_data_ptr(), saved[1].const_data_ptr<float>(),
                       saved[2].const_data_ptr<float>(), saved[3].const_data_ptr<float>(), grad_sum.data_ptr(),
                       partial.data_ptr<float>(), sum.size(0), static_cast<int>(sum.size(1))},
                      half_type(sum), c10::cuda::getCurrentCUDAStream());
    const auto vectors = partial.sum(0);
    const auto dtype = context->saved_data["dtype"].toScalarType();
    return {grad_sum, grad_sum, vectors[2].to(context->saved_data["bias_dtype"].toScalarType()),
            vectors[0].to(dtype), vectors[1].to(dtype), at::Tensor()};
  }
};

}  // namespace

bool fuses_gelu(const at::Tensor& x, const at::Tensor& bias) {
  return is_half(x) && bias.size(0) % kGeluWidthStep == 0 && bias.size(0) <= kMaxGeluWidth && x.size(0) > 0;
}

bool fuses_norm(const at::Tensor& residual) {
  return is_half(residual) && residual.size(1) % kNormWidthStep == 0 && residual.size(1) <= kMaxNormWidth &&
         residual.size(0) > 0;
}

at::Tensor linear_gelu(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  return BiasGelu::apply(at::matmul(x, weight.t()), bias);
}

at::Tensor linear_add_norm(const at::Tensor& residual, const at::Tensor& x, const at::Tensor& weight,
                           const at::Tensor& bias, const at::Tensor& gain, const at::Tensor& shift, double eps) {
  return AddNorm::apply(residual, at::matmul(x, weight.t()), bias, gain, shift, eps);
}

}  // namespace taesr::cuda
