#pragma once

#include <cstddef>
#include <string_view>

namespace taesr::detail {

/// One decoded character and the bytes that it takes.
struct CodePoint {
  char32_t value = 0;
  std::size_t length = 0;
};

/// Stands for bytes that are not UTF-8.
inline constexpr char32_t kReplacement = 0xFFFD;

/// Offset of the first byte that starts no well-formed sequence (Unicode 15, table 3-7: overlong forms,
/// surrogates and values above U+10FFFF are ill-formed), or npos when all of `text` is UTF-8.
[[nodiscard]] std::size_t find_invalid_utf8(std::string_view text) noexcept;

/// Throws InvalidArgument naming `what`, the offset and the byte, unless `text` is UTF-8.
void require_utf8(std::string_view text, std::string_view what);

/// The code point that starts at `offset` (less than text.size()); U+FFFD of length 1 for an ill-formed one.
[[nodiscard]] CodePoint decode_utf8(std::string_view text, std::size_t offset) noexcept;

/// The code point that ends at `offset` (1 to text.size()); U+FFFD of length 1 for an ill-formed one.
[[nodiscard]] CodePoint decode_utf8_before(std::string_view text, std::size_t offset) noexcept;

/// Whether a code point of UTF-8 text starts at `offset`, or the text ends there.
[[nodiscard]] bool is_boundary(std::string_view text, std::size_t offset) noexcept;

/// Unicode property White_Space.
[[nodiscard]] bool is_space(char32_t c) noexcept;

/// First offset in [begin, end) that is not white space, or `end`.
[[nodiscard]] std::size_t skip_space(std::string_view text, std::size_t begin, std::size_t end) noexcept;

/// Smallest offset in [begin, end] with nothing but white space between it and `end`.
[[nodiscard]] std::size_t trim_space(std::string_view text, std::size_t begin, std::size_t end) noexcept;

}  // namespace taesr::detail
