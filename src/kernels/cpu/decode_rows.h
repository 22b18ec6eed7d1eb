#pragma once

#include <cstdint>
#include <span>
#include <string>

#include <ATen/core/Tensor.h>
#include <c10/util/BFloat16.h>

#include "kernels/decode_row.h"
#include "taesr/errors.h"

// What the operators of kernels/decode_ops.h mean, value by value: the engine on the GPU is tested with these, the
// CPU's own is faster. Here is how they see their tensors.

namespace taesr::decode {

inline std::span<const DecodeRow> rows_of(const at::Tensor& rows) {
  return {reinterpret_cast<const DecodeRow*>(rows.const_data_ptr<std::int32_t>()),
          static_cast<std::size_t>(rows.size(0))};
}

/// Calls job(T()) for the element type of `x`.
template <class Job>
void with_element(const at::Tensor& x, const Job& job) {
  if (x.scalar_type() == at::kFloat) return job(float());
  if (x.scalar_type() == at::kBFloat16) return job(c10::BFloat16());
  throw InvalidArgument("a tensor is " + std::string(c10::toString(x.scalar_type())) + "; allowed: float32, bfloat16");
}

template <class T>
const T* row_of(const at::Tensor& x, std::size_t row) {
  return x.const_data_ptr<T>() + static_cast<std::int64_t>(row) * x.size(1);
}

template <class T>
T* row_of(at::Tensor& x, std::size_t row) {
  return x.mutable_data_ptr<T>() + static_cast<std::int64_t>(row) * x.size(1);
}

}  // namespace taesr::decode
