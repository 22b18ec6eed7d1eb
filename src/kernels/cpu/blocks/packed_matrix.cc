#include "kernels/cpu/blocks/packed_matrix.h"

#include <cstring>

#include <ATen/ops/zeros.h>

namespace taesr::blocks {
namespace {

constexpr std::int64_t kHalf = 2;  // bytes of a number of half precision

/// Bytes of one row's integers in a block.
std::int64_t integer_bytes(GgmlType type) { return type == GgmlType::kQ8_0 ? kBlock : kBlock / 2; }

/// Bytes of the numbers that come before a block's integers: its scale, and of Q4_1 its offset.
std::int64_t header_bytes(GgmlType type) {
  return static_cast<std::int64_t>(bytes_per_block(type)) - integer_bytes(type);
}

std::byte* bytes_of(at::Tensor& tensor) { return static_cast<std::byte*>(tensor.mutable_data_ptr()); }
const std::byte* bytes_of(const at::Tensor& tensor) {
  return static_cast<const std::byte*>(tensor.const_data_ptr());
}

float half_at(const at::Tensor& halves, std::int64_t index) {
  std::uint16_t bits = 0;
  std::memcpy(&bits, bytes_of(halves) + index * kHalf, sizeof bits);
  return half_to_float(bits);
}

at::Tensor zeros(std::int64_t bytes) { return at::zeros({bytes}, at::kByte); }

}  // namespace

PackedMatrix::PackedMatrix(GgmlType kind, std::int64_t outputs, std::int64_t inputs,
                           std::span<const std::byte> rows)
    : type(kind), out(outputs), in(inputs) {
  const std::int64_t row_bytes = static_cast<std::int64_t>(rows.size()) / out;
  if (!is_in_blocks(type)) {
    const auto size = static_cast<std::int64_t>(bytes_per_block(type));
    values = zeros(panels() * kPanel * row_bytes);
    for (std::int64_t row = 0; row < out; ++row) {
      const std::byte* const from = rows.data() + row * row_bytes;
      std::byte* const to = bytes_of(values) + row / kPanel * kPanel * row_bytes + row % kPanel * size;
      for (std::int64_t i = 0; i < in; ++i) std::memcpy(to + i * kPanel * size, from + i * size, size);
    }
    return;
  }
  const std::int64_t width = integer_bytes(type);
  const std::byte flip{type == GgmlType::kQ8_0 ? std::uint8_t{0x80}
                                               : std::uint8_t{0}};  // signed to 128 above
  values = zeros(panels() * kPanel * blocks() * width);
  scales = zeros(panels() * kPanel * blocks() * kHalf);
  if (type == GgmlType::kQ4_1) offsets = zeros(scales.numel());
  for (std::int64_t row = 0; row < out; ++row) {
    for (std::int64_t block = 0; block < blocks(); ++block) {
      const std::byte* const from = rows.data() + row * row_bytes + block * (header_bytes(type) + width);
      const std::int64_t at = row / kPanel * blocks() + block;
      std::memcpy(bytes_of(scales) + (at * kPanel + row % kPanel) * kHalf, from, kHalf);
      if (offsets.defined()) {
        std::memcpy(bytes_of(offsets) + (at * kPanel + row % kPanel) * kHalf, from + kHalf, kHalf);
      }
      for (std::int64_t i = 0; i < width; ++i) {
        const std::int64_t unit = (at * (width / kUnit) + i / kUnit) * kPanel + row % kPanel;
        bytes_of(values)[unit * kUnit + i % kUnit] = from[header_bytes(type) + i] ^ flip;
      }
    }
  }
}

std::size_t PackedMatrix::bytes() const {
  std::size_t total = values.nbytes();
  for (const at::Tensor* tensor : {&scales, &offsets}) total += tensor->defined() ? tensor->nbytes() : 0;
  return total;
}

void PackedMatrix::read_row(std::int64_t row, float* to) const {
  const std::int64_t panel = row / kPanel;
  if (!is_in_blocks(type)) {
    const auto size = static_cast<std::int64_t>(bytes_per_block(type));
    const std::byte* const from = bytes_of(values) + panel * panel_bytes() + row % kPanel * size;
    for (std::int64_t i = 0; i < in; ++i) {
      dequantise(type, {from + i * kPanel * size, static_cast<std::size_t>(size)}, {to + i, 1});
    }
    return;
  }
  const std::int64_t width = integer_bytes(type);
  for (std::int64_t block = 0; block < blocks(); ++block) {
    const std::int64_t at = panel * blocks() + block;
    const float scale = half_at(scales, at * kPanel + row % kPanel);
    const float offset = offsets.defined() ? half_at(offsets, at * kPanel + row % kPanel) : 0;
    for (std::int64_t i = 0; i < kBlock; ++i) {
      const std::int64_t unit = (at * (width / kUnit) + i % width / kUnit) * kPanel + row % kPanel;
      const auto byte = std::to_integer<int>(bytes_of(values)[unit * kUnit + i % kUnit]);
      const int integer = type == GgmlType::kQ8_0 ? byte : i < width ? byte & 15 : byte >> 4;
      to[block * kBlock + i] = static_cast<float>(integer - zero_of(type)) * scale + offset;
    }
  }
}

}  // namespace taesr::blocks
