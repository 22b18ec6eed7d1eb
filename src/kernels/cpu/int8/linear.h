#pragma once

#include <cstdint>

#include "kernels/cpu/int8/packed_linear.h"

namespace taesr::int8 {

/// What the products are computed with. The sums are the same; results differ by float32's rounding.
enum class Instructions {
  kPortable,
  kAvx2,     // AVX2 with FMA and F16C
  kAvxVnni,  // and its VNNI instructions, without AVX-512
  kAvx512,   // AVX-512 (F, BW, VL, DQ) with VNNI
};

/// True where this processor has them.
[[nodiscard]] bool available(Instructions instructions);
/// The fastest that this processor has.
[[nodiscard]] Instructions best_instructions();

/// x float32 [rows, width] to integers, each row on a grid of its own; y.stride is at least `width` in whole units.
void quantise(Instructions instructions, const float* x, std::int64_t rows, std::int64_t width, const QuantisedRows& y);

/// y = x W^T + b. x [rows, map.in], y float32 [rows, map.out].
void linear(Instructions instructions, const QuantisedRows& x, std::int64_t rows, const PackedLinear& map, float* y);

}  // namespace taesr::int8
