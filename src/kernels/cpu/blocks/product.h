#pragma once

#include <cstdint>

#include "kernels/cpu/blocks/packed_matrix.h"
#include "kernels/cpu/int8/linear.h"

namespace taesr::blocks {

using int8::Instructions;

/// Rows that are multiplied. Matrices of numbers read `values`, quantised ones the rest.
struct Inputs {
  const float* values = nullptr;          // [rows, in]
  const std::int8_t* integers = nullptr;  // [rows, in]; -127 to 127
  const float* scales = nullptr;          // [rows, in / kBlock]: value = integer * scale
  const std::int32_t* sums = nullptr;     // [rows, in / kBlock], of each block's integers

  [[nodiscard]] Inputs from(std::int64_t row, std::int64_t in) const {
    const std::int64_t block = row * (in / kBlock);
    if (integers == nullptr) return {.values = values + row * in};
    return {values + row * in, integers + row * in, scales + block, sums + block};
  }
};

/// Blocks of values to integers, each block on a grid of its own. All processors find the same ones.
void quantise(Instructions instructions, const float* values, std::int64_t blocks, std::int8_t* integers,
              float* scales, std::int32_t* sums);

/// y = x W^T for the outputs of the panels from `begin` to before `end`. y [rows, matrix.out]. A row's
/// results depend on this row alone, to the last bit.
void multiply(Instructions instructions, const Inputs& x, std::int64_t rows, const PackedMatrix& matrix,
              std::int64_t begin, std::int64_t end, float* y);

}  // namespace taesr::blocks
