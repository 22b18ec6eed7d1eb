#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "checkpoint/ggml_blocks.h"

namespace taesr {
namespace {

template <class T>
void append(T value, std::string& bytes) {
  char raw[sizeof value];
  std::memcpy(raw, &value, sizeof value);
  bytes.append(raw, sizeof value);
}

std::uint16_t to_bfloat16(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  return static_cast<std::uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

/// Two halves of a block, in the low and the high halves of bytes.
void append_nibbles(const float* x, float inverse, float offset, std::string& bytes) {
  const auto integer = [&](float value) {
    return std::clamp(static_cast<int>(value * inverse + offset), 0, 15);
  };
  constexpr std::size_t kHalf = kGgmlBlock / 2;
  for (std::size_t i = 0; i < kHalf; ++i) {
    append(static_cast<std::uint8_t>(integer(x[i]) | integer(x[i + kHalf]) << 4), bytes);
  }
}

/// The value farthest from 0, with its sign, becomes -8.
void append_q4_0(const float* x, std::string& bytes) {
  const float farthest =
      *std::max_element(x, x + kGgmlBlock, [](float a, float b) { return std::abs(a) < std::abs(b); });
  const float scale = farthest / -8;
  append(float_to_half(scale), bytes);
  append_nibbles(x, scale != 0 ? 1 / scale : 0, 8.5F, bytes);
}

void append_q4_1(const float* x, std::string& bytes) {
  const auto [least, most] = std::minmax_element(x, x + kGgmlBlock);
  const float scale = (*most - *least) / 15;
  const float inverse = scale != 0 ? 1 / scale : 0;
  append(float_to_half(scale), bytes);
  append(float_to_half(*least), bytes);
  append_nibbles(x, inverse, 0.5F - *least * inverse, bytes);
}

void append_q8_0(const float* x, std::string& bytes) {
  float largest = 0;
  for (std::size_t i = 0; i < kGgmlBlock; ++i) largest = std::max(largest, std::abs(x[i]));
  const float scale = largest / 127;
  const float inverse = scale != 0 ? 1 / scale : 0;
  append(float_to_half(scale), bytes);
  for (std::size_t i = 0; i < kGgmlBlock; ++i) {
    append(static_cast<std::int8_t>(std::round(x[i] * inverse)), bytes);
  }
}

}  // namespace

std::uint16_t float_to_half(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const auto sign = static_cast<std::uint16_t>(bits >> 16 & 0x8000);
  const float size = std::abs(value);
  if (std::isnan(value)) return static_cast<std::uint16_t>(sign | 0x7E00);
  if (size >= 65520.0F) return static_cast<std::uint16_t>(sign | 0x7C00);
  // Below 2^-14 numbers are multiples of 2^-24, which adding 0.5 rounds to.
  if (size < 0x1p-14F) {
    return static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(size + 0.5F) & 0x7FF));
  }
  const std::uint32_t whole = (bits & 0x7FFFFFFF) - (112U << 23);
  return static_cast<std::uint16_t>(sign | (whole + 0xFFF + (whole >> 13 & 1)) >> 13);
}

void quantise(GgmlType type, std::span<const float> values, std::string& bytes) {
  for (std::size_t i = 0; i < values.size(); i += values_per_block(type)) {
    const float* const x = values.data() + i;
    switch (type) {
      case GgmlType::kF32: append(*x, bytes); break;
      case GgmlType::kF16: append(float_to_half(*x), bytes); break;
      case GgmlType::kBF16: append(to_bfloat16(*x), bytes); break;
      case GgmlType::kQ4_0: append_q4_0(x, bytes); break;
      case GgmlType::kQ4_1: append_q4_1(x, bytes); break;
      case GgmlType::kQ8_0: append_q8_0(x, bytes); break;
    }
  }
}

}  // namespace taesr
