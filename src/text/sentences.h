#pragma once

#include <string_view>
#include <vector>

#include "taesr/chunker.h"

namespace taesr::detail {

/// Sentences of text that is known to be UTF-8, as offsets into `text`.
[[nodiscard]] std::vector<TextSpan> split_valid_sentences(std::string_view text);

}  // namespace taesr::detail
