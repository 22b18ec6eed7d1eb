#include "kernels/norm_ops.h"

#include <torch/library.h>

#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAGuard.h>

#include "kernels/cuda/layer_kernels.h"
#include "kernels/cuda/tensors.h"

namespace taesr::cuda {
namespace {

constexpr std::int64_t kMeanLimit = 4096;

bool has_kernel(std::int64_t width) { return width % kNormStep == 0 && width <= kNormLimit; }

at::Tensor embed_norm_cuda(const at::Tensor& tokens, const at::Tensor& places, const at::Tensor& token,
                           const at::Tensor& position, const at::Tensor& role, const at::Tensor& gain,
                           const at::Tensor& shift, double eps) {
  const c10::cuda::CUDAGuard guard(token.device());
  if (!has_kernel(token.size(1))) return embed_norm_by_aten(tokens, places, token, position, role, {gain, shift, eps});
  const auto device = token.device();
  const auto dtype = token.scalar_type();
  const auto ids = packed("tokens", tokens, device, at::kInt);
  const auto marks = packed("places", places, device, at::kInt);
  const auto token_table = packed("token", token, device, dtype);
  const auto position_table = packed("position", position, device, dtype);
  const auto role_table = packed("role", role, device, dtype);
  const auto gains = packed("gain", gain, device, at::kFloat);
  const auto shifts = packed("shift", shift, device, at::kFloat);
  auto out = at::empty({ids.size(0), token.size(1)}, token.options());
  embed_norm({ids.const_data_ptr<std::int32_t>(), marks.const_data_ptr<std::int32_t>(), token_table.const_data_ptr(),
              position_table.const_data_ptr(), role_table.const_data_ptr(), gains.const_data_ptr<float>(),
              shifts.const_data_ptr<float>(), out.data_ptr(), ids.size(0), static_cast<int>(token.size(1)),
              static_cast<float>(eps)},
             element_of(token), stream_of(token));
  return out;
}

void add_norm_cuda(at::Tensor& x, const at::Tensor& y, const at::Tensor& bias, const at::Tensor& gain,
                   const at::Tensor& shift, double eps, const std::optional<at::Tensor>& entry,
                   const std::optional<at::Tensor>& scale, std::int64_t reinjected) {
  const c10::cuda::CUDAGuard guard(x.device());
  const bool reinjects = entry && scale && reinjected > 0;
  if (!has_kernel(x.size(1)) || !x.is_contiguous()) {
    std::optional<Reinjection> reinjection;
    if (reinjects) reinjection = {*entry, *scale, reinjected};
    return add_norm_by_aten(x, y, bias, {gain, shift, eps}, reinjection);
  }
  const auto device = x.device();
  const auto addend = packed("y", y, device, x.scalar_type());
  const auto biases = packed("bias", bias, device, at::kFloat);
  const auto gains = packed("gain", gain, device, at::kFloat);
  const auto shifts = packed("shift", shift, device, at::kFloat);
  const auto entries = reinjects ? packed("entry", *entry, device, x.scalar_type()) : at::Tensor();
  const auto scales = reinjects ? packed("scale", *scale, device, at::kFloat) : at::Tensor();
  if (addend.sizes() != x.sizes() || (reinjects && (reinjected > x.size(0) || reinjected > entries.size(0)))) {
    throw InvalidArgument("y must be as large as x, and no more rows reinjected than x and entry have");
  }
  add_norm_in_place({x.data_ptr(), addend.const_data_ptr(), biases.const_data_ptr<float>(),
                     gains.const_data_ptr<float>(), shifts.const_data_ptr<float>(),
                     reinjects ? entries.const_data_ptr() : nullptr,
                     reinjects ? scales.const_data_ptr<float>() : nullptr, x.size(0), reinjects ? reinjected : 0,
                     static_cast<int>(x.size(1)), static_cast<float>(eps)},
                    element_of(x), stream_of(x));
}

at::Tensor segment_mean_cuda(const at::Tensor& x, const at::Tensor& offsets) {
  const c10::cuda::CUDAGuard guard(x.device());
  if (x.size(1) % 4 != 0 || x.size(1) > kMeanLimit) return segment_mean_by_aten(x, offsets);
  const auto rows = x.contiguous();
  const auto borders = packed("offsets", offsets, x.device(), at::kInt);
  auto out = at::empty({borders.size(0) - 1, x.size(1)}, x.options().dtype(at::kFloat));
  segment_mean({rows.const_data_ptr(), borders.const_data_ptr<std::int32_t>(), out.mutable_data_ptr<float>(),
                borders.size(0) - 1, static_cast<int>(x.size(1))},
               element_of(x), stream_of(x));
  return out;
}

}  // namespace

TORCH_LIBRARY_IMPL(taesr, CUDA, library) {
  library.impl("embed_norm", &embed_norm_cuda);
  library.impl("add_norm_", &add_norm_cuda);
  library.impl("segment_mean", &segment_mean_cuda);
}

}  // namespace taesr::cuda
