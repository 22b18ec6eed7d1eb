#include "checkpoint/ggml_blocks.h"

#include <bit>
#include <cstring>

namespace taesr {
namespace {

constexpr std::size_t kHalf = kGgmlBlock / 2;

std::uint16_t read_bits(const std::byte* from) {
  std::uint16_t bits = 0;
  std::memcpy(&bits, from, sizeof bits);
  return bits;
}

float read_half(const std::byte* from) { return half_to_float(read_bits(from)); }

/// The low halves of the bytes are the block's first 16 values, the high ones its last.
void read_nibbles(const std::byte* packed, float scale, float offset, float* values) {
  for (std::size_t i = 0; i < kHalf; ++i) {
    const auto byte = std::to_integer<int>(packed[i]);
    values[i] = static_cast<float>(byte & 15) * scale + offset;
    values[i + kHalf] = static_cast<float>(byte >> 4) * scale + offset;
  }
}

void read_block(GgmlType type, const std::byte* block, float* values) {
  switch (type) {
    case GgmlType::kF32: std::memcpy(values, block, sizeof *values); return;
    case GgmlType::kF16: *values = read_half(block); return;
    case GgmlType::kBF16: *values = std::bit_cast<float>(std::uint32_t{read_bits(block)} << 16); return;
    case GgmlType::kQ4_0: {
      const float scale = read_half(block);
      return read_nibbles(block + 2, scale, -8 * scale, values);
    }
    case GgmlType::kQ4_1: return read_nibbles(block + 4, read_half(block), read_half(block + 2), values);
    case GgmlType::kQ8_0: {
      const float scale = read_half(block);
      for (std::size_t i = 0; i < kGgmlBlock; ++i) {
        values[i] = static_cast<float>(static_cast<std::int8_t>(block[2 + i])) * scale;
      }
    }
  }
}

}  // namespace

std::optional<GgmlType> ggml_type(std::uint32_t number) {
  for (const auto type :
       {GgmlType::kF32, GgmlType::kF16, GgmlType::kBF16, GgmlType::kQ4_0, GgmlType::kQ4_1, GgmlType::kQ8_0}) {
    if (static_cast<std::uint32_t>(type) == number) return type;
  }
  return std::nullopt;
}

const char* name_of(GgmlType type) {
  switch (type) {
    case GgmlType::kF32: return "F32";
    case GgmlType::kF16: return "F16";
    case GgmlType::kBF16: return "BF16";
    case GgmlType::kQ4_0: return "Q4_0";
    case GgmlType::kQ4_1: return "Q4_1";
    case GgmlType::kQ8_0: return "Q8_0";
  }
  return "unknown";
}

std::size_t values_per_block(GgmlType type) {
  return is_in_blocks(type) ? kGgmlBlock : 1;
}

std::size_t bytes_per_block(GgmlType type) {
  switch (type) {
    case GgmlType::kF32: return 4;
    case GgmlType::kF16:
    case GgmlType::kBF16: return 2;
    case GgmlType::kQ4_0: return 2 + kHalf;
    case GgmlType::kQ4_1: return 4 + kHalf;
    case GgmlType::kQ8_0: return 2 + kGgmlBlock;
  }
  return 0;
}

float half_to_float(std::uint16_t bits) {
  const std::uint32_t sign = (bits & 0x8000U) << 16;
  const std::uint32_t exponent = bits >> 10 & 31U;
  const std::uint32_t mantissa = bits & 0x3FFU;
  if (exponent == 0) {  // zero and the numbers below 2^-14
    const float value = static_cast<float>(mantissa) * 0x1p-24F;
    return sign != 0 ? -value : value;
  }
  const std::uint32_t wide = exponent == 31 ? 255 : exponent + 112;
  return std::bit_cast<float>(sign | wide << 23 | mantissa << 13);
}

void dequantise(GgmlType type, std::span<const std::byte> bytes, std::span<float> values) {
  const std::byte* block = bytes.data();
  for (std::size_t i = 0; i < values.size(); i += values_per_block(type), block += bytes_per_block(type)) {
    read_block(type, block, values.data() + i);
  }
}

}  // namespace taesr
