#include "text/sentences.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>

#include "core/utf8.h"
#include "text/abbreviations.h"
#include "text/lines.h"

namespace taesr {

namespace detail {

namespace {

using std::size_t;
using std::string_view;

constexpr size_t kLongestWord = 24;  // bytes looked at before a full stop; no abbreviation is longer

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

std::string lower_ascii(string_view word) {
  std::string lower(word);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

// Small letters of Latin, Greek and Cyrillic, without the rarer extensions: scripts in which a
// sentence begins with a capital.
bool is_small(char32_t c) {
  if (c < 0x80) return c >= 'a' && c <= 'z';
  if (c >= 0xDF && c <= 0xFF) return c != 0xF7;
  if (c >= 0x100 && c <= 0x17F) {
    const bool odd_is_small = c <= 0x137 || (c >= 0x14A && c <= 0x177);
    return odd_is_small == (c % 2 == 1);
  }
  return (c >= 0x3AC && c <= 0x3CE) || (c >= 0x430 && c <= 0x45F);
}

enum class Stop { kNone, kPeriod, kEllipsis, kStrong, kWide };

// kWide: full stops of scripts that put no blank after them.
Stop stop_kind(char32_t c) {
  switch (c) {
    case U'.':
      return Stop::kPeriod;
    case U'…':
      return Stop::kEllipsis;
    case U'!':
    case U'?':
    case U'‼':
    case U'⁇':
    case U'⁈':
    case U'⁉':
    case U'؟':
    case U'۔':
    case U'।':
    case U'॥':
      return Stop::kStrong;
    case U'。':
    case U'！':
    case U'？':
    case U'．':
    case U'｡':
      return Stop::kWide;
    default:
      return Stop::kNone;
  }
}

bool is_closer(char32_t c) {
  constexpr std::u32string_view kClosers = U")]}\"'*_`”’»›」』）】》〉］｝";
  return kClosers.find(c) != std::u32string_view::npos;
}

bool is_opener(char32_t c) {
  constexpr std::u32string_view kOpeners = U"([{\"'*_`“‘«‹„‚¿¡「『（【《〈";
  return kOpeners.find(c) != std::u32string_view::npos;
}

// First bytes of the characters of stop_kind, so that the scan passes over all others quickly.
constexpr std::array<bool, 256> stop_bytes() {
  std::array<bool, 256> table{};
  for (const unsigned char byte : {'.', '!', '?'}) table[byte] = true;
  for (const int byte : {0xD8, 0xDB, 0xE0, 0xE2, 0xE3, 0xEF}) table[static_cast<size_t>(byte)] = true;
  return table;
}
constexpr std::array<bool, 256> kStopBytes = stop_bytes();

// A run of stops with the quotes and brackets that close after it.
struct StopRun {
  Stop kind = Stop::kNone;
  size_t begin = 0;
  size_t end = 0;  // behind the closers
  bool closed = false;
};

// Splits a stretch of prose [begin, end) of `text`, in which line feeds mean nothing.
class ProseSplitter {
 public:
  ProseSplitter(string_view text, size_t begin, size_t end, std::vector<TextSpan>& spans)
      : text_(text),
        start_(skip_space(text, begin, end)),
        end_(trim_space(text, begin, end)),
        spans_(spans) {}

  void run() {
    size_t offset = start_;
    while (offset < end_) {
      if (!kStopBytes[static_cast<unsigned char>(text_[offset])]) {
        ++offset;
        continue;
      }
      const StopRun run = read_run(offset);
      if (run.kind == Stop::kNone) {
        offset += decode_utf8(text_, offset).length;
        continue;
      }
      offset = run.end;
      const size_t next = skip_space(text_, run.end, end_);
      if (next == end_ || !ends_sentence(run, next)) continue;
      spans_.push_back({start_, run.end});
      start_ = offset = next;
    }
    if (start_ < end_) spans_.push_back({start_, end_});
  }

 private:
  StopRun read_run(size_t offset) const {
    StopRun run{Stop::kNone, offset, offset, false};
    while (run.end < end_) {
      const CodePoint point = decode_utf8(text_, run.end);
      const Stop kind = stop_kind(point.value);
      if (kind == Stop::kNone) break;
      const bool dots = run.kind == Stop::kPeriod && kind == Stop::kPeriod;
      run.kind = dots ? Stop::kEllipsis : std::max(run.kind, kind);
      run.end += point.length;
    }
    while (run.kind != Stop::kNone && run.end < end_) {
      const CodePoint point = decode_utf8(text_, run.end);
      if (!is_closer(point.value)) break;
      run.closed = true;
      run.end += point.length;
    }
    return run;
  }

  bool ends_sentence(const StopRun& run, size_t next) const {
    if (run.kind == Stop::kWide) return true;
    if (next == run.end) return false;  // "example.com", "1.5", "file.txt"
    const char32_t follower = first_character(next);
    const bool small = is_small(follower);
    switch (run.kind) {
      case Stop::kStrong:
        return !(run.closed && small);  // "Really?" he asked.
      case Stop::kEllipsis:
        return !small;
      default:
        return !small && !joins(follower) && period_ends(run, next, follower);
    }
  }

  // A character that cannot begin a sentence.
  static bool joins(char32_t c) {
    return std::u32string_view(U".,;:)]}/&").find(c) != std::u32string_view::npos;
  }

  // The first character at or after `next` that is not an opening quote or bracket.
  char32_t first_character(size_t next) const {
    char32_t value = 0;
    for (size_t i = 0; i < 4 && next < end_; ++i) {
      const CodePoint point = decode_utf8(text_, next);
      value = point.value;
      if (!is_opener(value)) break;
      next += point.length;
    }
    return value;
  }

  bool period_ends(const StopRun& run, size_t next, char32_t follower) const {
    const size_t word_begin = word_before(run.begin);
    const string_view word = text_.substr(word_begin, run.begin - word_begin);
    if (word.empty()) return true;
    const bool digit_follows = follower >= '0' && follower <= '9';
    if (is_number(word)) return word_begin != start_ && !names_number(word_begin);
    switch (stop_after(lower_ascii(word))) {
      case StopAfter::kNeverEnds:
        return false;
      case StopAfter::kNumberFollows:
        return !digit_follows;
      case StopAfter::kUsuallyEnds:
        return !digit_follows;
      case StopAfter::kEnds:
        break;
    }
    if (is_initials(word)) return opens_sentence(word_after(next));
    return true;
  }

  // Begin of the word that ends at `end`, no further back than the sentence or kLongestWord.
  size_t word_before(size_t end) const {
    const size_t limit = end - std::min(end - start_, kLongestWord);
    size_t begin = end;
    while (begin > limit) {
      const CodePoint point = decode_utf8_before(text_, begin);
      const bool inside_words = point.value == U'\'' || point.value == U'_';
      if (is_space(point.value) || (is_opener(point.value) && !inside_words)) break;
      if (point.length > begin - limit) break;
      begin -= point.length;
    }
    return begin;
  }

  string_view word_after(size_t begin) const {
    size_t end = begin;
    while (end < end_ && end - begin < kLongestWord && is_letter(text_[end])) ++end;
    return text_.substr(begin, end - begin);
  }

  // "1." in front of a sentence is the number of a list item.
  static bool is_number(string_view word) { return word.size() <= 3 && std::ranges::all_of(word, is_digit); }

  // "Step 1. Open the file."
  bool names_number(size_t number_begin) const {
    const size_t end = trim_space(text_, start_, number_begin);
    return takes_number(lower_ascii(text_.substr(word_before(end), end - word_before(end))));
  }

  // "J", "U.S", "a.m": single letters with full stops between them; beyond ASCII, one capital.
  static bool is_initials(string_view word) {
    const CodePoint first = decode_utf8(word, 0);
    if (first.value >= 0xC0 && first.value <= 0x52F)
      return first.length == word.size() && !is_small(first.value);
    for (size_t i = 0; i < word.size(); ++i) {
      if (i % 2 == 0 ? !is_letter(word[i]) : word[i] != '.') return false;
    }
    return word.size() % 2 == 1;
  }

  string_view text_;
  size_t start_;  // of the sentence being read
  size_t end_;
  std::vector<TextSpan>& spans_;
};

// Splits text into prose and the lines and blocks that are sentences of their own.
class LineSplitter {
 public:
  explicit LineSplitter(string_view text) : text_(text) {}

  std::vector<TextSpan> run() {
    for (size_t begin = 0; begin < text_.size();) {
      size_t end = line_end(begin);
      LineKind kind = classify_line(line(begin, end));
      if (const char mark = opening_fence(line(begin, end)); mark != '\0') {
        kind = LineKind::kUnit;
        end = code_end(end, mark);
      }
      if (kind != LineKind::kProse) flush();
      if (kind == LineKind::kUnit) {
        spans_.push_back({skip_space(text_, begin, end), trim_space(text_, begin, end)});
      } else if (kind != LineKind::kBlank) {
        prose_begin_ = std::min(prose_begin_, begin);
        prose_end_ = end;
      }
      begin = end + 1;
    }
    flush();
    return std::move(spans_);
  }

 private:
  size_t line_end(size_t begin) const { return std::min(text_.find('\n', begin), text_.size()); }
  string_view line(size_t begin, size_t end) const { return text_.substr(begin, end - begin); }

  // End of the block of code whose first line ends at `end`; that line's own where nothing closes it.
  size_t code_end(size_t end, char mark) {
    bool& unclosed = mark == '~' ? tilde_unclosed_ : backtick_unclosed_;
    // What found no end once finds none later: looking again would cost quadratic time.
    for (size_t begin = end + 1; !unclosed && begin < text_.size();) {
      const size_t last = line_end(begin);
      if (closes_fence(line(begin, last), mark)) return last;
      begin = last + 1;
    }
    unclosed = true;
    return end;
  }

  void flush() {
    if (prose_begin_ < prose_end_) ProseSplitter(text_, prose_begin_, prose_end_, spans_).run();
    prose_begin_ = string_view::npos;
  }

  string_view text_;
  std::vector<TextSpan> spans_;
  size_t prose_begin_ = string_view::npos;  // of the prose being gathered
  size_t prose_end_ = 0;
  bool tilde_unclosed_ = false;
  bool backtick_unclosed_ = false;
};

}  // namespace

std::vector<TextSpan> split_valid_sentences(string_view text) { return LineSplitter(text).run(); }

}  // namespace detail

std::vector<TextSpan> split_sentences(const std::string& text) {
  detail::require_utf8(text, "text to split into sentences");
  return detail::split_valid_sentences(text);
}

}  // namespace taesr
