#include "taesr/chunker.h"

#include <algorithm>
#include <string_view>
#include <utility>

#include "core/utf8.h"
#include "taesr/errors.h"
#include "text/sections.h"
#include "text/units.h"

namespace taesr {

namespace {

using detail::Unit;
using std::size_t;

constexpr size_t kMinTokens = 200;
constexpr size_t kMaxTokens = 800;
constexpr size_t kMinOverlap = 50;
constexpr size_t kMaxOverlap = 100;
constexpr size_t kShortSection = 4;   // a section of less than max_tokens / 4 is joined with a neighbour
constexpr size_t kLongestGap = 4096;  // bytes of white space that a chunk may span

void require_range(const char* field, size_t value, size_t low, size_t high) {
  if (value >= low && value <= high) return;
  throw InvalidArgument(std::string("ChunkOptions.") + field + " is " + std::to_string(value) +
                        ", allowed are " + std::to_string(low) + " to " + std::to_string(high));
}

// Neighbouring sections that chunks may span: units [first, last).
struct Group {
  size_t first = 0;
  size_t last = 0;
  size_t tokens = 0;
  std::string path;  // of its last section
};

class Chunker {
 public:
  Chunker(const Document& document, const ChunkOptions& options, const detail::TokenCounter& count)
      : document_(document),
        options_(options),
        count_(count),
        sections_(detail::covering_sections(document)) {}

  std::vector<Chunk> run() {
    for (const Group& group : read_groups()) pack(group);
    return std::move(chunks_);
  }

 private:
  // Reads all units, and joins the sections that are too short to stand alone.
  std::vector<Group> read_groups() {
    detail::UnitReader reader(document_.text, options_.max_tokens, options_.overlap, count_);
    std::vector<Group> groups;
    for (size_t i = 0; i < sections_.size(); ++i) {
      Group next{units_.size(), 0, 0, sections_[i].path};
      reader.read(i, sections_[i].begin, sections_[i].end, units_);
      next.last = units_.size();
      for (size_t u = next.first; u < next.last; ++u) next.tokens += units_[u].tokens;
      if (next.first == next.last) continue;
      if (!groups.empty() && belongs_to(groups.back(), next)) {
        groups.back() = {groups.back().first, next.last, groups.back().tokens + next.tokens, next.path};
      } else {
        groups.push_back(std::move(next));
      }
    }
    return groups;
  }

  // A short section is joined with whatever makes one chunk with it; in front of a longer one it is
  // joined only with a part or a neighbour under the same heading, not with the next chapter.
  bool belongs_to(const Group& group, const Group& next) const {
    const size_t least = options_.max_tokens / kShortSection;
    if (group.tokens + next.tokens <= options_.max_tokens) return group.tokens < least || next.tokens < least;
    const size_t shared = detail::path_depth(detail::common_path(group.path, next.path));
    return group.tokens < least && shared + 1 >= detail::path_depth(group.path);
  }

  void pack(const Group& group) {
    size_t first = group.first;  // the next unit that is in no chunk yet
    size_t start = first;        // of the chunk: earlier than `first` by the overlap
    while (first < group.last) {
      size_t end = fill(start, first, group.last);
      const size_t tokens = shorten(start, first, end);
      chunks_.push_back(make_chunk(start, end, tokens));
      start = overlap_begin(start, end, group.last);
      first = end;
    }
  }

  // End of the units that fit, by the sum of their tokens, behind the overlap [start, first); one new
  // unit at least.
  size_t fill(size_t start, size_t first, size_t last) const {
    size_t sum = 0;
    for (size_t i = start; i <= first; ++i) sum += units_[i].tokens;
    size_t end = first + 1;
    size_t paragraph_end = units_[first].ends_paragraph && sum >= options_.max_tokens / 2 ? end : 0;
    while (end < last && sum + units_[end].tokens + joint_tokens_ <= options_.max_tokens) {
      if (units_[end].begin - units_[end - 1].end > kLongestGap) return end;
      sum += units_[end].tokens;
      ++end;
      if (units_[end - 1].ends_paragraph && sum >= options_.max_tokens / 2) paragraph_end = end;
    }
    return end < last && paragraph_end != 0 ? paragraph_end : end;
  }

  // Tokens of the chunk's own text. Where they are more than the sum of its units promised, units are
  // taken off the end, then off the overlap, until it fits.
  size_t shorten(size_t& start, size_t first, size_t& end) {
    while (end - start > 1) {
      const size_t begin = units_[start].begin;
      const size_t tokens = count_(document_.text.substr(begin, units_[end - 1].end - begin));
      size_t sum = 0;
      for (size_t i = start; i < end; ++i) sum += units_[i].tokens;
      joint_tokens_ = std::min(tokens - std::min(sum, tokens), options_.max_tokens / 2);
      if (tokens <= options_.max_tokens) return tokens;
      size_t excess = tokens - options_.max_tokens;
      do {
        const size_t dropped = end > first + 1 ? --end : start++;
        excess -= std::min(excess, units_[dropped].tokens);
      } while (excess > 0 && end - start > 1);
    }
    return units_[start].tokens;
  }

  // Begin of the units at the end of the chunk [start, end) that the next chunk repeats.
  size_t overlap_begin(size_t start, size_t end, size_t last) const {
    size_t begin = end;
    size_t tokens = 0;
    while (end < last && tokens < options_.overlap && begin > start + 1) {
      const Unit& unit = units_[begin - 1];
      const bool far = units_[begin].begin - unit.end > kLongestGap;
      if (far || unit.section != units_[end].section || tokens + unit.tokens > kMaxOverlap) break;
      tokens += unit.tokens;
      --begin;
    }
    return begin;
  }

  Chunk make_chunk(size_t start, size_t end, size_t tokens) const {
    std::string_view path = sections_[units_[start].section].path;
    for (size_t s = units_[start].section + 1; s <= units_[end - 1].section; ++s) {
      path = detail::common_path(path, sections_[s].path);
    }
    const size_t begin = units_[start].begin;
    return {std::string(path), document_.text.substr(begin, units_[end - 1].end - begin), begin,
            units_[end - 1].end, tokens};
  }

  const Document& document_;
  const ChunkOptions& options_;
  const detail::TokenCounter& count_;
  std::vector<Section> sections_;
  std::vector<Unit> units_;
  std::vector<Chunk> chunks_;
  size_t joint_tokens_ = 0;  // what the last chunk had beyond the sum of its units
};

}  // namespace

std::vector<Chunk> chunk_document(const Document& document, const ChunkOptions& options,
                                  const std::function<std::size_t(const std::string&)>& count_tokens) {
  require_range("max_tokens", options.max_tokens, kMinTokens, kMaxTokens);
  require_range("overlap", options.overlap, kMinOverlap, kMaxOverlap);
  if (!count_tokens) throw InvalidArgument("count_tokens is empty; give the embedder's count_tokens");
  detail::require_utf8(document.text, "document '" + document.id + "', text");
  return Chunker(document, options, count_tokens).run();
}

}  // namespace taesr
