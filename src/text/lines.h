#pragma once

#include <cstddef>
#include <string_view>

namespace taesr::detail {

/// What a line is, as far as sentences are concerned.
enum class LineKind {
  kBlank,     // ends whatever came before
  kProse,     // goes on with the sentence of the line before
  kListItem,  // begins a new sentence; prose lines may go on with it
  kUnit,      // heading, table row, rule or line of code: whole in itself
};

/// Classifies one line (without its line feed) by its first characters. Code is what is indented by
/// four columns or more, as in Markdown.
[[nodiscard]] LineKind classify_line(std::string_view line);

/// The character of the fence ('`' or '~') that a line opens a block of code with, or 0.
[[nodiscard]] char opening_fence(std::string_view line);

/// Whether a line closes a block of code that was opened with `mark`.
[[nodiscard]] bool closes_fence(std::string_view line, char mark);

}  // namespace taesr::detail
