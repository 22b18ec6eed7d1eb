#pragma once

#include "kernels/cpu/blocks/product.h"

namespace taesr::blocks {

// product.h's functions for processors with AVX-512 (F, BW, VL, DQ) and VNNI.

void quantise_avx512(const float* values, std::int64_t blocks, std::int8_t* integers, float* scales,
                     std::int32_t* sums);
void multiply_avx512(const Inputs& x, std::int64_t rows, const PackedMatrix& matrix, std::int64_t begin,
                     std::int64_t end, float* y);

}  // namespace taesr::blocks
