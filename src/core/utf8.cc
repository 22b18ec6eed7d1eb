#include "core/utf8.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>

#include "taesr/errors.h"

namespace taesr::detail {

namespace {

constexpr std::uint64_t kHighBits = 0x8080808080808080ULL;

bool is_continuation(unsigned char byte) { return (byte & 0xC0) == 0x80; }

// Length of the well-formed sequence at `offset`, or 0.
std::size_t sequence_length(std::string_view text, std::size_t offset) noexcept {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[offset + i]); };
  const std::size_t left = text.size() - offset;
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead < 0xC2 || lead > 0xF4) return 0;
  const std::size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  if (left < length) return 0;
  // The second byte's range excludes overlong forms, surrogates and values above U+10FFFF.
  const unsigned char low = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
  const unsigned char high = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
  if (byte(1) < low || byte(1) > high) return 0;
  for (std::size_t i = 2; i < length; ++i) {
    if (!is_continuation(byte(i))) return 0;
  }
  return length;
}

}  // namespace

std::size_t find_invalid_utf8(std::string_view text) noexcept {
  std::size_t offset = 0;
  while (offset < text.size()) {
    // Eight ASCII bytes at a time: most text is mostly ASCII.
    while (text.size() - offset >= sizeof(std::uint64_t)) {
      std::uint64_t word = 0;
      std::memcpy(&word, text.data() + offset, sizeof word);
      if ((word & kHighBits) != 0) break;
      offset += sizeof word;
    }
    if (offset == text.size()) break;
    const std::size_t length = sequence_length(text, offset);
    if (length == 0) return offset;
    offset += length;
  }
  return std::string_view::npos;
}

void require_utf8(std::string_view text, std::string_view what) {
  const std::size_t offset = find_invalid_utf8(text);
  if (offset == std::string_view::npos) return;
  char hex[8];
  std::snprintf(hex, sizeof hex, "0x%02X", static_cast<unsigned>(static_cast<unsigned char>(text[offset])));
  throw InvalidArgument(std::string(what) + ": byte " + hex + " at offset " + std::to_string(offset) +
                        " is not UTF-8; convert the text to UTF-8 first");
}

CodePoint decode_utf8(std::string_view text, std::size_t offset) noexcept {
  const std::size_t length = sequence_length(text, offset);
  if (length == 0) return {kReplacement, 1};
  const auto lead = static_cast<unsigned char>(text[offset]);
  char32_t value = length == 1 ? lead : lead & (0x7FU >> length);
  for (std::size_t i = 1; i < length; ++i) {
    value = (value << 6) | (static_cast<unsigned char>(text[offset + i]) & 0x3FU);
  }
  return {value, length};
}

CodePoint decode_utf8_before(std::string_view text, std::size_t offset) noexcept {
  for (std::size_t length = 1; length <= std::min<std::size_t>(4, offset); ++length) {
    if (is_continuation(static_cast<unsigned char>(text[offset - length]))) continue;
    const CodePoint point = decode_utf8(text.substr(0, offset), offset - length);
    if (point.length == length) return point;
    break;
  }
  return {kReplacement, 1};
}

bool is_boundary(std::string_view text, std::size_t offset) noexcept {
  return offset >= text.size() || !is_continuation(static_cast<unsigned char>(text[offset]));
}

bool is_space(char32_t c) noexcept {
  if (c < 0x80) return c == ' ' || (c >= '\t' && c <= '\r');
  return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

std::size_t skip_space(std::string_view text, std::size_t begin, std::size_t end) noexcept {
  while (begin < end) {
    const CodePoint point = decode_utf8(text, begin);
    if (!is_space(point.value)) break;
    begin += point.length;
  }
  return std::min(begin, end);
}

std::size_t trim_space(std::string_view text, std::size_t begin, std::size_t end) noexcept {
  while (end > begin) {
    const CodePoint point = decode_utf8_before(text, end);
    if (!is_space(point.value)) break;
    end -= point.length;
  }
  return std::max(begin, end);
}

}  // namespace taesr::detail
