#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace taesr {

/// Terms of an English text for keyword search, in order and with repetitions: runs of two or more
/// word characters (the expression \b\w\w+\b), in lower case, without stop words, Porter stemmed.
/// Any bytes are accepted; what is not UTF-8 separates words.
[[nodiscard]] std::vector<std::string> analyze(std::string_view text);

}  // namespace taesr
