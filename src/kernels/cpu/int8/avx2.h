#pragma once

#include "kernels/cpu/int8/packed_linear.h"

namespace taesr::int8 {

// linear.h's functions for processors with AVX2 and FMA, and those with AVX-VNNI too.

void quantise_avx2(const float* x, std::int64_t rows, std::int64_t width, const QuantisedRows& y);
void linear_avx2(const QuantisedRows& x, std::int64_t rows, const PackedLinear& map, float* y);
void linear_avx_vnni(const QuantisedRows& x, std::int64_t rows, const PackedLinear& map, float* y);

}  // namespace taesr::int8
