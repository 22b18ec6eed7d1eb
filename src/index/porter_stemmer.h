#pragma once

#include <string>
#include <string_view>

namespace taesr {

/// Stem of a lower-case English word (M. F. Porter, "An algorithm for suffix stripping", 1980).
/// Characters other than a to z count as consonants; words of one or two bytes are their own stems.
[[nodiscard]] std::string porter_stem(std::string_view word);

}  // namespace taesr
