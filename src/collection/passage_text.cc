#include "collection/passage_text.h"

namespace taesr {

std::string passage_text(const std::string& title, const std::string& section, const std::string& text) {
  const bool repeats_title = section == title || section.starts_with(title + " > ");
  std::string heading = title;
  if (title.empty() || repeats_title) {
    heading = section;
  } else if (!section.empty()) {
    heading += " > " + section;
  }
  return heading.empty() ? text : heading + "\n" + text;
}

}  // namespace taesr
