#include "text/lines.h"

#include <algorithm>

#include "core/utf8.h"

namespace taesr::detail {

namespace {

constexpr std::size_t kCodeIndent = 4;
constexpr std::size_t kMaxListDigits = 3;  // a longer number is a year more often than an item
constexpr std::string_view kBlanks = " \t\r";

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Whether `line` goes on with a blank, or ends, at `offset`.
bool blank_at(std::string_view line, std::size_t offset) {
  return offset >= line.size() || kBlanks.find(line[offset]) != std::string_view::npos;
}

// "- ", "* ", "+ ", a bullet character, "12. ", "12) " or "a) ".
bool starts_list_item(std::string_view line) {
  const char first = line.front();
  if (first == '-' || first == '*' || first == '+') return blank_at(line, 1);
  for (const std::string_view bullet : {"•", "◦", "▪", "‣", "·", "–"}) {
    if (line.starts_with(bullet)) return blank_at(line, bullet.size());
  }
  std::size_t digits = 0;
  while (digits < line.size() && digits <= kMaxListDigits && is_digit(line[digits])) ++digits;
  if (digits > 0 && digits <= kMaxListDigits && digits < line.size()) {
    return (line[digits] == '.' || line[digits] == ')') && blank_at(line, digits + 1);
  }
  return line.size() > 1 && first >= 'a' && first <= 'z' && line[1] == ')' && blank_at(line, 2);
}

bool is_heading(std::string_view line) {
  const std::size_t level = std::min(line.find_first_not_of('#'), line.size());
  return level >= 1 && level <= 6 && blank_at(line, level);
}

// "-----", "=====", "* * *", "```": nothing but three marks or more.
bool is_rule(std::string_view line, char mark) {
  std::size_t marks = 0;
  for (const char c : line) {
    if (c == mark) {
      ++marks;
    } else if (kBlanks.find(c) == std::string_view::npos) {
      return false;
    }
  }
  return marks >= 3;
}

}  // namespace

char opening_fence(std::string_view line) {
  const std::size_t begin = std::min(line.find_first_not_of(kBlanks), line.size());
  const std::string_view content = line.substr(begin);
  return content.starts_with("```") || content.starts_with("~~~") ? content.front() : '\0';
}

bool closes_fence(std::string_view line, char mark) {
  return opening_fence(line) == mark && is_rule(line.substr(line.find(mark)), mark);
}

LineKind classify_line(std::string_view line) {
  std::size_t columns = 0;
  std::size_t begin = 0;
  for (; begin < line.size() && (line[begin] == ' ' || line[begin] == '\t'); ++begin) {
    columns += line[begin] == '\t' ? kCodeIndent : 1;
  }
  const std::string_view content = line.substr(begin);
  if (skip_space(content, 0, content.size()) == content.size()) return LineKind::kBlank;
  const char first = content.front();
  const bool rule =
      std::string_view("-=_*~`").find(first) != std::string_view::npos && is_rule(content, first);
  if (first == '|' || rule || is_heading(content) || opening_fence(content) != '\0') return LineKind::kUnit;
  if (starts_list_item(content)) return LineKind::kListItem;
  return columns >= kCodeIndent ? LineKind::kUnit : LineKind::kProse;
}

}  // namespace taesr::detail
