#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace taesr::detail {

using TokenCounter = std::function<std::size_t(const std::string&)>;

/// The smallest piece that chunks are put together from: a sentence, or a part of one too long for a chunk.
struct Unit {
  std::size_t begin = 0;  // bytes into the document's text
  std::size_t end = 0;
  std::size_t tokens = 0;
  std::size_t section = 0;      // index of the section that it lies in
  bool ends_paragraph = false;  // an empty line or the section's end follows
};

/// Cuts text into units and counts their tokens.
class UnitReader {
 public:
  /// `text` is UTF-8 and outlives the reader. No unit has more than `max_tokens`; parts of sentences
  /// longer than that have at most `part_tokens`, so that some of them can be repeated as overlap.
  UnitReader(std::string_view text, std::size_t max_tokens, std::size_t part_tokens,
             const TokenCounter& count);

  /// Appends the units of the section [begin, end) to `units`.
  void read(std::size_t section, std::size_t begin, std::size_t end, std::vector<Unit>& units);

 private:
  void split(std::size_t section, std::size_t begin, std::size_t end, std::vector<Unit>& units);
  [[nodiscard]] Unit next_part(std::size_t section, std::size_t begin, std::size_t end);
  [[nodiscard]] std::size_t cut(std::size_t begin, std::size_t end, std::size_t bytes) const;
  [[nodiscard]] std::size_t count(std::size_t begin, std::size_t end) const;

  std::string_view text_;
  std::size_t max_tokens_;
  std::size_t part_tokens_;
  const TokenCounter& count_;
  std::size_t part_bytes_;  // tried for the next part: learnt from those before
};

}  // namespace taesr::detail
