#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

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

/// The grid of a block of values, from the one of largest magnitude.
struct BlockGrid {
  /// `magnitude` are its bits without the sign: as integers they order numbers by size, infinity above them and
  /// what is not a number above that, so that neither gets lost.
  explicit BlockGrid(std::int32_t magnitude) {
    constexpr float kSmallest = 1e-36F;  // below it 127 times the inverse is infinite
    const auto largest = std::bit_cast<float>(magnitude);
    finite = std::isfinite(largest);
    scale = finite ? largest / 127.0F : std::numeric_limits<float>::quiet_NaN();
    inverse = finite && largest > kSmallest ? 127.0F / largest : 0.0F;
  }

  bool finite;
  float scale;
  float inverse;  // 0: all integers are 0
};

/// Blocks of values to integers, each block on a grid of its own. All processors find the same ones. A block
/// with a value that is not finite has zeros, and no number as its scale: so have its products.
void quantise(Instructions instructions, const float* values, std::int64_t blocks, std::int8_t* integers,
              float* scales, std::int32_t* sums);

/// y = x W^T for the outputs of the panels from `begin` to before `end`. y [rows, matrix.out]. A row's
/// results depend on this row alone, to the last bit.
void multiply(Instructions instructions, const Inputs& x, std::int64_t rows, const PackedMatrix& matrix,
              std::int64_t begin, std::int64_t end, float* y);

}  // namespace taesr::blocks
