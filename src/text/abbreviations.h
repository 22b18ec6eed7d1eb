#pragma once

#include <string_view>

namespace taesr::detail {

/// What a full stop after a word means for the end of a sentence.
enum class StopAfter {
  kEnds,           // an ordinary word
  kNeverEnds,      // "Dr.", "e.g.": something always follows
  kNumberFollows,  // "No. 5", "Fig. 3": ends the sentence unless a digit follows
  kUsuallyEnds,    // "Inc.", "etc.": ends it before a capital letter only
};

/// Looks up a word in lower case, without its full stop.
[[nodiscard]] StopAfter stop_after(std::string_view word);

/// Whether a word, as spelt, often opens an English sentence ("The", "When"): it decides after
/// initials and acronyms, where a capital letter alone says nothing.
[[nodiscard]] bool opens_sentence(std::string_view word);

/// Whether a word in lower case takes a number as its name: "step 1. Open the file."
[[nodiscard]] bool takes_number(std::string_view word);

}  // namespace taesr::detail
