#include "index/analyzer.h"

#include <algorithm>
#include <array>

#include "core/utf8.h"
#include "index/porter_stemmer.h"
#include "index/unicode.h"

namespace taesr {
namespace {

/// Lucene's English stop words, sorted.
constexpr std::array<std::string_view, 33> kStopWords = {
    "a",   "an",    "and",  "are",   "as",    "at",   "be",   "but", "by",  "for",  "if",
    "in",  "into",  "is",   "it",    "no",    "not",  "of",   "on",  "or",  "such", "that",
    "the", "their", "then", "there", "these", "they", "this", "to",  "was", "will", "with",
};

/// Nobody searches for a longer word; encoded data posing as one would only fill the index.
constexpr std::size_t kMaxWordBytes = 256;

void add_term(const std::string& word, std::size_t characters, std::vector<std::string>& terms) {
  if (characters < 2 || word.size() > kMaxWordBytes) return;
  if (std::binary_search(kStopWords.begin(), kStopWords.end(), word)) return;
  terms.push_back(porter_stem(word));
}

}  // namespace

std::vector<std::string> analyze(std::string_view text) {
  static_assert(std::is_sorted(kStopWords.begin(), kStopWords.end()));
  std::vector<std::string> terms;
  std::string word;
  std::size_t characters = 0;
  for (std::size_t position = 0; position < text.size();) {
    const detail::CodePoint character = detail::decode_utf8(text, position);
    position += character.length;
    if (is_word_character(character.value)) {
      append_utf8(word, to_lower(character.value));
      ++characters;
      continue;
    }
    add_term(word, characters, terms);
    word.clear();
    characters = 0;
  }
  add_term(word, characters, terms);
  return terms;
}

}  // namespace taesr
