#pragma once

#include <string>

namespace taesr {

/// Appends the UTF-8 form of a character to `text`.
void append_utf8(std::string& text, char32_t code);

/// A letter, digit or underscore.
[[nodiscard]] bool is_word_character(char32_t code);
[[nodiscard]] char32_t to_lower(char32_t code);

}  // namespace taesr
