#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace taesr {

/// How ggml stores the values of a tensor. Those with Q hold blocks of 32 values of one row, each with a
/// scale of half precision: Q4_0 (w - 8) * scale, Q4_1 w * scale + least, Q8_0 w * scale.
enum class GgmlType : std::uint32_t { kF32 = 0, kF16 = 1, kQ4_0 = 2, kQ4_1 = 3, kQ8_0 = 8, kBF16 = 30 };

inline constexpr std::size_t kGgmlBlock = 32;

/// Whether values are integers in blocks, and not numbers each on its own.
[[nodiscard]] constexpr bool is_in_blocks(GgmlType type) {
  return type == GgmlType::kQ4_0 || type == GgmlType::kQ4_1 || type == GgmlType::kQ8_0;
}

/// The type with this number in a file; nothing for types that are not read here.
[[nodiscard]] std::optional<GgmlType> ggml_type(std::uint32_t number);
[[nodiscard]] const char* name_of(GgmlType type);
/// Values that are stored together: rows are whole multiples of it.
[[nodiscard]] std::size_t values_per_block(GgmlType type);
[[nodiscard]] std::size_t bytes_per_block(GgmlType type);

/// A number of half precision, from its bits.
[[nodiscard]] float half_to_float(std::uint16_t bits);
/// The nearest number of half precision, of two the even one; infinity above all.
[[nodiscard]] std::uint16_t float_to_half(float value);

/// `values.size()` is a multiple of values_per_block(type), and `bytes` holds exactly its blocks.
void dequantise(GgmlType type, std::span<const std::byte> bytes, std::span<float> values);

/// Appends the blocks of `values` to `bytes`, rounded as ggml rounds. values.size() is a multiple of
/// values_per_block(type).
void quantise(GgmlType type, std::span<const float> values, std::string& bytes);

}  // namespace taesr
