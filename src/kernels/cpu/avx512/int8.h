#pragma once

#include <cstdint>

#include "kernels/cpu/avx512/element.h"
#include "kernels/cpu/int8/packed_linear.h"

namespace taesr::avx512 {

// Products of 8 bits with VNNI, for states of type E: float, or BFloat16 where it is available. Any sizes.

/// x [rows, width] to integers, each row on a grid of its own; y.stride is at least `width` in whole units.
template <class E>
TAESR_AVX512 void quantise(Rows<const E> x, std::int64_t rows, std::int64_t width, const int8::QuantisedRows& y);

/// y = x W^T + b. x [rows, map.in], y [rows, map.out].
template <class E>
void linear(const int8::QuantisedRows& x, std::int64_t rows, const int8::PackedLinear& map, Rows<E> y);
/// The same without rounding to E.
inline void linear_float(const int8::QuantisedRows& x, std::int64_t rows, const int8::PackedLinear& map, Rows<float> y) {
  linear<float>(x, rows, map, y);
}
/// y = gelu(x W^T + b).
template <class E>
void linear_gelu(const int8::QuantisedRows& x, std::int64_t rows, const int8::PackedLinear& map, Rows<E> y);

/// y = x * scale. A row of int8::Table.
template <class E>
TAESR_AVX512 void scale_row(const std::int8_t* x, float scale, std::int64_t width, E* y);

}  // namespace taesr::avx512
