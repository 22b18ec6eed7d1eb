#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <ATen/core/Tensor.h>

#include "checkpoint/ggml_blocks.h"

namespace taesr::blocks {

/// Outputs that are computed side by side, one in each lane.
inline constexpr std::int64_t kPanel = 16;
/// Inputs of 8 bits that are multiplied at once.
inline constexpr std::int64_t kUnit = 4;
/// Inputs that share a scale, and their units.
inline constexpr std::int64_t kBlock = static_cast<std::int64_t>(kGgmlBlock);
inline constexpr std::int64_t kUnits = kBlock / kUnit;

/// Integers are stored without signs, this much above their values.
[[nodiscard]] constexpr std::int32_t zero_of(GgmlType type) {
  return type == GgmlType::kQ4_0 ? 8 : type == GgmlType::kQ8_0 ? 128 : 0;
}

/// A matrix [out, in] as precise as its file has it, laid out for the kernels once, at load: panels of rows,
/// so that a product reads it front to back. The last panel is padded with zeros.
struct PackedMatrix {
  /// `rows` are the blocks of all rows as ggml has them; `in` is a multiple of values_per_block(type).
  PackedMatrix(GgmlType type, std::int64_t out, std::int64_t in, std::span<const std::byte> rows);

  [[nodiscard]] std::int64_t panels() const { return (out + kPanel - 1) / kPanel; }
  /// Blocks of a row; 0 where values are numbers.
  [[nodiscard]] std::int64_t blocks() const { return is_in_blocks(type) ? in / kBlock : 0; }
  /// Memory of `values` that belongs to one panel.
  [[nodiscard]] std::int64_t panel_bytes() const { return values.numel() / panels(); }
  [[nodiscard]] std::size_t bytes() const;

  /// One row as float32 [in].
  void read_row(std::int64_t row, float* to) const;

  GgmlType type;
  std::int64_t out;
  std::int64_t in;
  // Bytes. Numbers are [panels][in][kPanel]; integers of 8 bits [panels][blocks][kUnits][kPanel][kUnit]. Of 4
  // bits two units lie in one: [panels][blocks][kUnits / 2][kPanel][kUnit], unit u in the low and u + kUnits
  // / 2 in the high halves of the bytes.
  at::Tensor values;
  at::Tensor scales;   // half precision [panels][blocks][kPanel]
  at::Tensor offsets;  // the same, of Q4_1: what is added to integer * scale
};

}  // namespace taesr::blocks
