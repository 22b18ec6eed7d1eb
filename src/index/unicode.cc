#include "index/unicode.h"

#include <algorithm>
#include <iterator>

#include "index/unicode_tables.h"

namespace taesr {
namespace {

/// The range of a sorted table that may hold `code`, or the table's end.
template <typename Table>
auto find_range(const Table& table, char32_t code) {
  return std::lower_bound(std::begin(table), std::end(table), code,
                          [](const auto& range, char32_t wanted) { return range.last < wanted; });
}

}  // namespace

void append_utf8(std::string& text, char32_t code) {
  const auto put = [&](char32_t byte) { text += static_cast<char>(byte); };
  if (code < 0x80) {
    put(code);
  } else if (code < 0x800) {
    put(0xc0 | code >> 6);
    put(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    put(0xe0 | code >> 12);
    put(0x80 | (code >> 6 & 0x3f));
    put(0x80 | (code & 0x3f));
  } else {
    put(0xf0 | code >> 18);
    put(0x80 | (code >> 12 & 0x3f));
    put(0x80 | (code >> 6 & 0x3f));
    put(0x80 | (code & 0x3f));
  }
}

bool is_word_character(char32_t code) {
  if (code < 0x80) {
    return (code >= 'a' && code <= 'z') || (code >= 'A' && code <= 'Z') || (code >= '0' && code <= '9') ||
           code == '_';
  }
  const auto* range = find_range(unicode_tables::kWord, code);
  return range != std::end(unicode_tables::kWord) && range->first <= code;
}

char32_t to_lower(char32_t code) {
  if (code < 0x80) return code >= 'A' && code <= 'Z' ? code + 32 : code;
  const auto* range = find_range(unicode_tables::kLower, code);
  if (range == std::end(unicode_tables::kLower) || range->first > code) return code;
  if ((code - range->first) % static_cast<char32_t>(range->step) != 0) return code;
  return static_cast<char32_t>(static_cast<std::int32_t>(code) + range->shift);
}

}  // namespace taesr
