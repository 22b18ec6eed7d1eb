#pragma once

#include <ATen/core/Tensor.h>
#include <c10/cuda/CUDAStream.h>

#include "kernels/cuda/element.h"
#include "taesr/errors.h"

namespace taesr::cuda {

// What the operators' CUDA implementations ask of tensors before they hand out pointers.

[[nodiscard]] inline cudaStream_t stream_of(const at::Tensor& x) {
  return c10::cuda::getCurrentCUDAStream(x.device().index());
}

[[nodiscard]] inline Element element_of(const at::Tensor& x) {
  switch (x.scalar_type()) {
    case at::kFloat: return Element::kFloat32;
    case at::kHalf: return Element::kFloat16;
    case at::kBFloat16: return Element::kBFloat16;
    default: throw InvalidArgument("a tensor is " + std::string(c10::toString(x.scalar_type())) +
                                   "; allowed: float32, float16, bfloat16");
  }
}

/// Throws unless `x` is on `device` and of `dtype`: a kernel that reads it would crash the process.
inline void require(const char* name, const at::Tensor& x, const at::Device& device, at::ScalarType dtype) {
  if (x.device() == device && x.scalar_type() == dtype) return;
  throw InvalidArgument(std::string(name) + " is " + c10::toString(x.scalar_type()) + " on " + x.device().str() +
                        "; it must be " + c10::toString(dtype) + " on " + device.str());
}

/// The same, and its values side by side.
[[nodiscard]] inline at::Tensor packed(const char* name, const at::Tensor& x, const at::Device& device,
                                       at::ScalarType dtype) {
  require(name, x, device, dtype);
  return x.contiguous();
}

}  // namespace taesr::cuda
