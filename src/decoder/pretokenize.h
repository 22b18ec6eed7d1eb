#pragma once

#include <string_view>
#include <vector>

namespace taesr {

/// Splits text into the words that byte-pair merges stay within: every number character alone, the rest by
/// the expression of GPT-2, 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+. The
/// words cover the text. Bytes that are not UTF-8 count as symbols.
[[nodiscard]] std::vector<std::string_view> split_words(std::string_view text);

}  // namespace taesr
