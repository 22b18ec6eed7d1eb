#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "checkpoint/ggml_blocks.h"

namespace taesr::testing {

/// The half-precision number next to `value` towards zero; for sizes from 2^-14 to 65504.
inline std::uint16_t to_half(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  if (std::abs(value) < 0x1p-14F) return 0;
  return static_cast<std::uint16_t>((bits >> 16 & 0x8000) | (((bits >> 13) - (112U << 10)) & 0x7FFF));
}

/// Values as a file of this type holds them.
inline std::string ggml_bytes(GgmlType type, const std::vector<float>& values) {
  std::string bytes;
  const auto append_half = [&](float value) {
    const std::uint16_t half = to_half(value);
    bytes.append(reinterpret_cast<const char*>(&half), 2);
    return half_to_float(half);
  };
  if (type == GgmlType::kF32) return {reinterpret_cast<const char*>(values.data()), values.size() * 4};
  for (std::size_t at = 0; at < values.size(); at += values_per_block(type)) {
    if (type == GgmlType::kF16) {
      append_half(values[at]);
      continue;
    }
    const auto [least, most] = std::minmax_element(values.data() + at, values.data() + at + kGgmlBlock);
    const float largest = std::max(-*least, *most);
    const bool wide = type == GgmlType::kQ8_0;
    const float step = type == GgmlType::kQ4_1 ? (*most - *least) / 15 : largest / (wide ? 127 : 7);
    const float scale = append_half(step * 1.001F);
    const float offset = type == GgmlType::kQ4_1 ? append_half(*least) : wide ? 0 : -8 * scale;
    const auto integer = [&](std::size_t i) {
      const int nearest = static_cast<int>(std::lround((values[at + i] - offset) / scale));
      return wide ? std::clamp(nearest, -127, 127) : std::clamp(nearest, 0, 15);
    };
    for (std::size_t i = 0; i < (wide ? kGgmlBlock : kGgmlBlock / 2); ++i) {
      bytes += static_cast<char>(wide ? integer(i) : integer(i) | integer(i + kGgmlBlock / 2) << 4);
    }
  }
  return bytes;
}

}  // namespace taesr::testing
