#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "taesr/document.h"

namespace taesr::detail {

/// The document's sections with the gaps between them filled by sections without a path, so that they
/// cover its text. Throws InvalidArgument naming the first section that does not fit.
[[nodiscard]] std::vector<Section> covering_sections(const Document& document);

/// The headings that two section paths begin with in common: "A > B" and "A > C" give "A".
[[nodiscard]] std::string_view common_path(std::string_view a, std::string_view b);

/// Number of headings in a section path.
[[nodiscard]] std::size_t path_depth(std::string_view path);

}  // namespace taesr::detail
