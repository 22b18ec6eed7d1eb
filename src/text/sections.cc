#include "text/sections.h"

#include <algorithm>

#include "core/utf8.h"
#include "taesr/errors.h"

namespace taesr::detail {

namespace {

constexpr std::string_view kSeparator = " > ";

[[noreturn]] void throw_misfit(const Document& document, std::size_t index, const std::string& problem) {
  const Section& section = document.sections[index];
  throw InvalidArgument("document '" + document.id + "': section " + std::to_string(index) + " ('" +
                        section.path + "'), bytes " + std::to_string(section.begin) + " to " +
                        std::to_string(section.end) + ", " + problem);
}

// End of the heading that begins at `begin`.
std::size_t heading_end(std::string_view path, std::size_t begin) {
  return std::min(path.find(kSeparator, begin), path.size());
}

}  // namespace

std::vector<Section> covering_sections(const Document& document) {
  const std::string& text = document.text;
  std::vector<Section> covering;
  std::size_t covered = 0;
  for (std::size_t i = 0; i < document.sections.size(); ++i) {
    const Section& section = document.sections[i];
    if (section.begin > section.end) throw_misfit(document, i, "ends before it begins");
    if (section.end > text.size()) {
      throw_misfit(document, i, "reaches beyond the text of " + std::to_string(text.size()) + " bytes");
    }
    if (section.begin < covered) throw_misfit(document, i, "overlaps the section before it");
    if (!is_boundary(text, section.begin) || !is_boundary(text, section.end)) {
      throw_misfit(document, i, "cuts through a UTF-8 character");
    }
    if (section.begin > covered) covering.push_back({"", covered, section.begin});
    covering.push_back(section);
    covered = section.end;
  }
  if (covered < text.size()) covering.push_back({"", covered, text.size()});
  return covering;
}

std::string_view common_path(std::string_view a, std::string_view b) {
  std::size_t common = 0;  // length of the common part
  std::size_t begin = 0;   // of the heading compared
  while (begin < a.size() && begin < b.size()) {
    const std::size_t end = heading_end(a, begin);
    if (end != heading_end(b, begin) || a.substr(begin, end - begin) != b.substr(begin, end - begin)) break;
    common = end;
    begin = end + kSeparator.size();
  }
  return a.substr(0, common);
}

std::size_t path_depth(std::string_view path) {
  std::size_t depth = 0;
  for (std::size_t begin = 0; begin < path.size(); begin = heading_end(path, begin) + kSeparator.size())
    ++depth;
  return depth;
}

}  // namespace taesr::detail
