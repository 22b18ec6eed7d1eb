#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

namespace taesr::int8 {

// Affine maps with weights of 8 bits (Jacob et al. 2018, arXiv 1712.05877): one scale for each output, and
// for each row of the input a scale and a zero point that are found when the row is there. A row thus
// depends on no other. Sums are exact in 32 bits, so that every processor computes the same ones.

/// Values of 8 bits that are multiplied at once.
inline constexpr std::int64_t kUnit = 4;

/// Columns of a panel.
inline constexpr std::int64_t kPanel = 32;

/// Inputs beyond this many could overflow a sum of 32 bits.
inline constexpr std::int64_t kMostInputs = 65'536;

[[nodiscard]] constexpr std::int64_t round_up(std::int64_t size, std::int64_t step) { return (size + step - 1) / step * step; }

/// An affine map laid out for the kernels once, at load. Outputs are padded to whole panels and inputs to
/// whole units, with zeros.
struct PackedLinear {
  /// weight [out, in], bias [out] of any floating dtype, in host memory.
  PackedLinear(const at::Tensor& weight, const at::Tensor& bias);

  [[nodiscard]] std::int64_t units() const { return round_up(in, kUnit) / kUnit; }

  std::int64_t in = 0;
  std::int64_t out = 0;
  at::Tensor panels;  // int8 [panels][units][kPanel][kUnit]; -127 to 127
  at::Tensor sums;    // int32 [panels * kPanel], of each output's weights
  at::Tensor scale;   // float32 [panels * kPanel]
  at::Tensor bias;    // float32 [panels * kPanel]
};

/// Rows of a table, of 8 bits with a scale each.
struct Table {
  /// rows [count, width] of any floating dtype.
  explicit Table(const at::Tensor& rows);

  at::Tensor values;  // int8 [count, width]; -127 to 127
  at::Tensor scale;   // float32 [count]
};

/// Inputs of a product: value = scale * (integer - zero).
struct QuantisedRows {
  std::uint8_t* values = nullptr;  // [rows], `stride` bytes apart, each padded to whole units
  std::int64_t stride = 0;
  float* scale = nullptr;         // [rows]
  std::int32_t* zero = nullptr;   // [rows]

  [[nodiscard]] QuantisedRows from(std::int64_t row) const { return {values + row * stride, stride, scale + row, zero + row}; }
};

/// How the values of one row become integers from 0 to 255.
struct Grid {
  float scale;
  float inverse;
  std::int32_t zero;

  // Not inline: where a product and a sum are one instruction they round differently, and all processors shall
  // find the same integers.

  /// For values from `least` to `most`, of which one is at most 0 and one at least 0: 0 stays exactly 0.
  [[nodiscard]] static Grid over(float least, float most);
  /// round(value / scale) + zero, within 0 to 255.
  [[nodiscard]] std::uint8_t integer(float value) const;
};

}  // namespace taesr::int8
