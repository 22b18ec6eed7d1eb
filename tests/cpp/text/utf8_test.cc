#include "core/utf8.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "taesr/errors.h"

namespace taesr::detail {
namespace {

constexpr std::size_t kValid = std::string_view::npos;

std::string encode(char32_t c) {
  std::string bytes;
  const auto push = [&](char32_t value) { bytes.push_back(static_cast<char>(value)); };
  if (c < 0x80) {
    push(c);
  } else if (c < 0x800) {
    push(0xC0 | c >> 6), push(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    push(0xE0 | c >> 12), push(0x80 | (c >> 6 & 0x3F)), push(0x80 | (c & 0x3F));
  } else {
    push(0xF0 | c >> 18), push(0x80 | (c >> 12 & 0x3F)), push(0x80 | (c >> 6 & 0x3F)),
        push(0x80 | (c & 0x3F));
  }
  return bytes;
}

TEST(Utf8, EveryScalarValueIsValidAndDecodesBothWays) {
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c >= 0xD800 && c <= 0xDFFF) continue;
    const std::string bytes = "x" + encode(c);
    ASSERT_EQ(find_invalid_utf8(bytes), kValid) << std::hex << static_cast<unsigned>(c);
    const CodePoint forward = decode_utf8(bytes, 1);
    const CodePoint backward = decode_utf8_before(bytes, bytes.size());
    ASSERT_EQ(forward.value, c);
    ASSERT_EQ(forward.length, bytes.size() - 1);
    ASSERT_EQ(backward.value, c);
    ASSERT_EQ(backward.length, bytes.size() - 1);
  }
}

TEST(Utf8, IllFormedBytesAreFoundAtTheirOffset) {
  const struct {
    std::string bytes;
    std::size_t offset;
  } cases[] = {
      {"", kValid},
      {std::string("a\0b", 3), kValid},
      {"abc\xFF", 3},
      {"\x80", 0},              // continuation alone
      {"ab\xC3", 2},            // cut off
      {"ab\xE2\x82", 2},        // cut off
      {"ab\xF0\x9F\x98", 2},    // cut off
      {"\xC0\xAF", 0},          // overlong '/'
      {"\xC1\xBF", 0},          // overlong
      {"\xE0\x80\xAF", 0},      // overlong
      {"\xF0\x80\x80\xAF", 0},  // overlong
      {"a\xED\xA0\x80", 1},     // lone surrogate
      {"\xED\xBF\xBF", 0},      // lone surrogate
      {"\xF4\x90\x80\x80", 0},  // above U+10FFFF
      {"\xF5\x80\x80\x80", 0},
      {"0123456789abcdef\xC3\xA9\xFEzzzzzzzzzz", 18},  // behind the words read eight bytes at a time
      {"0123456\xE9zzzzzzzzzzzzzzzz", 7},
  };
  for (const auto& test : cases) EXPECT_EQ(find_invalid_utf8(test.bytes), test.offset) << test.bytes;
}

TEST(Utf8, DecodingIllFormedBytesGivesReplacementsAndAlwaysAdvances) {
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    std::string bytes(round % 40 + 1, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    std::size_t first_bad = kValid;
    for (std::size_t offset = 0; offset < bytes.size();) {
      const CodePoint point = decode_utf8(bytes, offset);
      ASSERT_GE(point.length, 1U);
      ASSERT_LE(offset + point.length, bytes.size());
      const bool replaced = point.value == kReplacement && point.length == 1;
      if (replaced && first_bad == kValid) first_bad = offset;
      offset += point.length;
    }
    ASSERT_EQ(find_invalid_utf8(bytes), first_bad);
    for (std::size_t offset = bytes.size(); offset > 0;) {
      const CodePoint point = decode_utf8_before(bytes, offset);
      ASSERT_GE(point.length, 1U);
      ASSERT_LE(point.length, offset);
      offset -= point.length;
    }
  }
}

TEST(Utf8, RequireNamesWhatWhereAndTheByte) {
  try {
    require_utf8("abc\xE9", "document 'x', text");
    FAIL();
  } catch (const InvalidArgument& error) {
    EXPECT_STREQ(error.what(),
                 "document 'x', text: byte 0xE9 at offset 3 is not UTF-8; convert the text to UTF-8 first");
  }
  EXPECT_NO_THROW(require_utf8("é", "x"));
}

TEST(Utf8, WhiteSpaceIsTrimmedByCharacters) {
  const std::string text = "\u3000 \u00a0a\u00a0b\u2003\n";
  const std::size_t begin = skip_space(text, 0, text.size());
  const std::size_t end = trim_space(text, begin, text.size());
  EXPECT_EQ(text.substr(begin, end - begin), "a\u00a0b");
  EXPECT_EQ(skip_space("   ", 0, 3), 3U);
  EXPECT_EQ(trim_space("   ", 0, 3), 0U);
  EXPECT_FALSE(is_space(U'\u200b'));
  EXPECT_TRUE(is_space(U'\u0085'));
}

}  // namespace
}  // namespace taesr::detail
