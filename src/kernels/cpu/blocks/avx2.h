#pragma once

#include "kernels/cpu/blocks/product.h"

namespace taesr::blocks {

// product.h's functions for processors with AVX2, FMA and F16C, and those with AVX-VNNI too.

void quantise_avx2(const float* values, std::int64_t blocks, std::int8_t* integers, float* scales,
                   std::int32_t* sums);
void multiply_avx2(const Inputs& x, std::int64_t rows, const PackedMatrix& matrix, std::int64_t begin,
                   std::int64_t end, float* y);
void multiply_avx_vnni(const Inputs& x, std::int64_t rows, const PackedMatrix& matrix, std::int64_t begin,
                       std::int64_t end, float* y);

}  // namespace taesr::blocks
