#include "text/units.h"

#include <algorithm>

#include "core/utf8.h"
#include "taesr/errors.h"
#include "text/sentences.h"

namespace taesr::detail {

namespace {

using std::size_t;

// Bytes that a token may stand for. A sentence longer than max_tokens of these is cut without being
// counted as a whole, so that no call of the counter sees a text of megabytes.
constexpr size_t kMaxTokenBytes = 16;
constexpr size_t kFirstTokenBytes = 4;  // guess for the first part: English has about 4.5

}  // namespace

UnitReader::UnitReader(std::string_view text, size_t max_tokens, size_t part_tokens,
                       const TokenCounter& count)
    : text_(text),
      max_tokens_(max_tokens),
      part_tokens_(part_tokens),
      count_(count),
      part_bytes_(part_tokens * kFirstTokenBytes) {}

void UnitReader::read(size_t section, size_t begin, size_t end, std::vector<Unit>& units) {
  const size_t first = units.size();
  for (const TextSpan& span : split_valid_sentences(text_.substr(begin, end - begin))) {
    const size_t sentence_begin = begin + span.begin;
    const size_t sentence_end = begin + span.end;
    const bool countable = sentence_end - sentence_begin <= max_tokens_ * kMaxTokenBytes;
    const size_t tokens = countable ? count(sentence_begin, sentence_end) : 0;
    if (countable && tokens <= max_tokens_) {
      units.push_back({sentence_begin, sentence_end, tokens, section, false});
    } else {
      split(section, sentence_begin, sentence_end, units);
    }
  }
  for (size_t i = first; i < units.size(); ++i) {
    const size_t gap_end = i + 1 < units.size() ? units[i + 1].begin : units[i].end;
    const std::string_view gap = text_.substr(units[i].end, gap_end - units[i].end);
    units[i].ends_paragraph = i + 1 == units.size() || std::ranges::count(gap, '\n') > 1;
  }
}

void UnitReader::split(size_t section, size_t begin, size_t end, std::vector<Unit>& units) {
  while (begin < end) {
    units.push_back(next_part(section, begin, end));
    begin = skip_space(text_, units.back().end, end);
  }
}

// The longest part from `begin` that the counter accepts, nearly: its length is guessed from the
// parts before, and shortened in proportion until it fits.
Unit UnitReader::next_part(size_t section, size_t begin, size_t end) {
  size_t part_end = cut(begin, end, part_bytes_);
  size_t tokens = count(begin, part_end);
  const size_t character = decode_utf8(text_, begin).length;
  while (tokens > part_tokens_ && part_end - begin > character) {
    const size_t bytes = (part_end - begin) * part_tokens_ / tokens;
    part_end = cut(begin, end, std::min(bytes, part_end - begin - 1));
    tokens = count(begin, part_end);
  }
  if (tokens > max_tokens_) {
    throw InvalidArgument("count_tokens gives " + std::to_string(tokens) +
                          " tokens for the one character at byte " + std::to_string(begin) +
                          ", more than max_tokens (" + std::to_string(max_tokens_) + ")");
  }
  const size_t bytes = (part_end - begin) * part_tokens_ / std::max<size_t>(tokens, 1);
  part_bytes_ = std::clamp<size_t>(bytes - bytes / 8, 1, part_tokens_ * kMaxTokenBytes);
  return {begin, part_end, tokens, section, false};
}

// End of a part of at most `bytes` bytes, and of one character at least: at a line's end in the
// second half, else between words, else between characters.
size_t UnitReader::cut(size_t begin, size_t end, size_t bytes) const {
  if (bytes >= end - begin) return end;
  const size_t middle = begin + bytes / 2;
  size_t limit = begin + bytes;
  while (limit > begin && !is_boundary(text_, limit)) --limit;
  if (limit == begin) return begin + decode_utf8(text_, begin).length;
  size_t word_end = 0;
  for (size_t i = limit; i > begin && (i > middle || word_end == 0);) {
    const CodePoint point = decode_utf8(text_, i);  // the character behind the cut
    if (point.value == U'\n' && i > middle) return trim_space(text_, begin, i);
    if (word_end == 0 && is_space(point.value)) word_end = i;
    i -= decode_utf8_before(text_, i).length;
  }
  return word_end != 0 ? trim_space(text_, begin, word_end) : limit;
}

size_t UnitReader::count(size_t begin, size_t end) const {
  return count_(std::string(text_.substr(begin, end - begin)));
}

}  // namespace taesr::detail
