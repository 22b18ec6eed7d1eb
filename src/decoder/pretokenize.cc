#include "decoder/pretokenize.h"

#include <algorithm>
#include <array>
#include <iterator>

#include "core/utf8.h"
#include "decoder/character_classes.h"

namespace taesr {
namespace {

enum class Class { kSpace, kLetter, kNumber, kSymbol };

template <class Table>
bool holds(const Table& table, char32_t code) {
  const auto* range =
      std::lower_bound(std::begin(table), std::end(table), code,
                       [](const auto& candidate, char32_t wanted) { return candidate.last < wanted; });
  return range != std::end(table) && range->first <= code;
}

Class class_of(char32_t code) {
  if (detail::is_space(code)) return Class::kSpace;
  if (code < 0x80) {
    if ((code | 32) >= 'a' && (code | 32) <= 'z') return Class::kLetter;
    return code >= '0' && code <= '9' ? Class::kNumber : Class::kSymbol;
  }
  if (holds(character_classes::kLetters, code)) return Class::kLetter;
  return holds(character_classes::kNumbers, code) ? Class::kNumber : Class::kSymbol;
}

/// The expression's matches in a piece of text without numbers.
class Words {
 public:
  explicit Words(std::string_view text) : text_(text) {}

  /// Length of the word that starts at `begin`.
  [[nodiscard]] std::size_t length(std::size_t begin) const {
    if (const std::size_t suffix = contraction(begin); suffix > 0) return suffix;
    const std::size_t start = begin + (text_[begin] == ' ' ? 1 : 0);
    if (start < text_.size()) {
      const Class kind = class_at(start);
      if (kind != Class::kSpace) return run(start, kind) - begin;
    }
    const std::size_t end = run(begin, Class::kSpace);
    if (end == text_.size()) return end - begin;
    const std::size_t last = end - width_before(end);  // the last space belongs to what follows
    return (last > begin ? last : end) - begin;
  }

 private:
  [[nodiscard]] std::size_t contraction(std::size_t begin) const {
    static constexpr std::array<std::string_view, 7> kSuffixes = {"'s", "'t",  "'re", "'ve",
                                                                  "'m", "'ll", "'d"};
    for (const auto suffix : kSuffixes) {
      if (text_.substr(begin, suffix.size()) == suffix) return suffix.size();
    }
    return 0;
  }

  [[nodiscard]] Class class_at(std::size_t at) const {
    return class_of(detail::decode_utf8(text_, at).value);
  }
  [[nodiscard]] std::size_t width_before(std::size_t end) const {
    return detail::decode_utf8_before(text_, end).length;
  }

  /// End of the characters of one class from `at`.
  [[nodiscard]] std::size_t run(std::size_t at, Class kind) const {
    while (at < text_.size() && class_at(at) == kind) at += detail::decode_utf8(text_, at).length;
    return at;
  }

  std::string_view text_;
};

void split_piece(std::string_view piece, std::vector<std::string_view>& words) {
  const Words matcher(piece);
  for (std::size_t at = 0; at < piece.size();) {
    const std::size_t length = matcher.length(at);
    words.push_back(piece.substr(at, length));
    at += length;
  }
}

}  // namespace

std::vector<std::string_view> split_words(std::string_view text) {
  std::vector<std::string_view> words;
  std::size_t begin = 0;  // of the piece without numbers
  for (std::size_t at = 0; at < text.size();) {
    const auto [code, length] = detail::decode_utf8(text, at);
    if (class_of(code) == Class::kNumber) {
      split_piece(text.substr(begin, at - begin), words);
      words.push_back(text.substr(at, length));
      begin = at + length;
    }
    at += length;
  }
  split_piece(text.substr(begin), words);
  return words;
}

}  // namespace taesr
