#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "kernels/cpu/avx512/element.h"

namespace taesr::avx512 {

/// An affine map laid out for the kernels once, at load.
template <class E>
struct PackedLinear {
  /// weight [out, in], bias [out] of any floating dtype. `in` is a multiple of kPerUnit, `out` of kPanel.
  PackedLinear(const at::Tensor& weight, const at::Tensor& bias);

  std::int64_t in = 0;
  std::int64_t out = 0;
  at::Tensor panels;  // E [out / kPanel][in in units][kPanel]
  at::Tensor bias;    // float32 [out]
};

/// y = x W^T + b. x [rows, in], y [rows, out].
template <class E>
void linear(Rows<const E> x, std::int64_t rows, const PackedLinear<E>& map, Rows<E> y);
/// The same without rounding the sums to E.
template <class E>
void linear_float(Rows<const E> x, std::int64_t rows, const PackedLinear<E>& map, Rows<float> y);
/// y = gelu(x W^T + b), the exact form to an absolute error below 1e-6.
template <class E>
void linear_gelu(Rows<const E> x, std::int64_t rows, const PackedLinear<E>& map, Rows<E> y);

}  // namespace taesr::avx512
