#pragma once

#include <string>

#include "taesr/export.h"

namespace taesr {

/// What a chunk is embedded and indexed as: a line of its document's title and section path, joined by
/// " > " as the path's own headings are, then the chunk's text. A path that starts with the title is
/// not preceded by it again, and where both are empty there is no first line.
[[nodiscard]] TAESR_API std::string passage_text(const std::string& title, const std::string& section,
                                                 const std::string& text);

}  // namespace taesr
