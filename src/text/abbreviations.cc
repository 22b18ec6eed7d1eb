#include "text/abbreviations.h"

#include <algorithm>
#include <array>

namespace taesr::detail {

namespace {

using std::string_view;

// Each list is sorted: it is searched by halving.
constexpr auto kNeverEnds = std::to_array<string_view>({
    "approx", "bzw",  "ca",  "capt", "cf",   "col",  "dr",  "e.g",    "eg",  "evtl", "excl", "gen",
    "ggf",    "hon",  "i.e", "ie",   "incl", "inkl", "lt",  "messrs", "mme", "mr",   "mrs",  "ms",
    "mt",     "prof", "rep", "resp", "sen",  "sgt",  "sog", "st",     "viz", "vs",
});

constexpr auto kNumberFollows = std::to_array<string_view>({
    "art", "bd", "ch",   "chap", "ed",  "eq",  "fig", "figs", "no",  "nos",
    "nr",  "p",  "para", "pp",   "rev", "sec", "tab", "v",    "ver", "vol",
});

constexpr auto kUsuallyEnds = std::to_array<string_view>({
    "al",  "apr", "aug", "co",  "corp", "dec", "dept", "est", "etc", "feb",  "inc", "jan", "jr",
    "jul", "jun", "ltd", "mar", "max",  "min", "nov",  "oct", "sep", "sept", "sr",  "tel", "usw",
});

constexpr auto kOpeners = std::to_array<string_view>({
    "A",     "After",   "All",    "Also",    "Although", "An",   "And",  "Another", "Any",   "As",
    "At",    "Because", "Before", "But",     "By",       "Do",   "Each", "For",     "From",  "He",
    "Her",   "His",     "How",    "However", "I",        "If",   "In",   "It",      "Its",   "Let",
    "Make",  "Many",    "Most",   "My",      "No",       "Note", "On",   "Once",    "One",   "Or",
    "Our",   "Please",  "See",    "She",     "So",       "Some", "That", "The",     "Their", "Then",
    "There", "These",   "They",   "This",    "Those",    "To",   "Use",  "We",      "What",  "When",
    "Where", "Which",   "While",  "Who",     "Why",      "With", "You",  "Your",
});

constexpr auto kTakesNumber = std::to_array<string_view>({
    "appendix",
    "chapter",
    "example",
    "figure",
    "issue",
    "method",
    "option",
    "page",
    "part",
    "phase",
    "question",
    "resolution",
    "section",
    "solution",
    "step",
    "table",
    "workaround",
});

static_assert(std::ranges::is_sorted(kNeverEnds) && std::ranges::is_sorted(kNumberFollows));
static_assert(std::ranges::is_sorted(kUsuallyEnds) && std::ranges::is_sorted(kOpeners));
static_assert(std::ranges::is_sorted(kTakesNumber));

}  // namespace

StopAfter stop_after(string_view word) {
  if (std::ranges::binary_search(kNeverEnds, word)) return StopAfter::kNeverEnds;
  if (std::ranges::binary_search(kNumberFollows, word)) return StopAfter::kNumberFollows;
  if (std::ranges::binary_search(kUsuallyEnds, word)) return StopAfter::kUsuallyEnds;
  return StopAfter::kEnds;
}

bool opens_sentence(string_view word) { return std::ranges::binary_search(kOpeners, word); }

bool takes_number(string_view word) { return std::ranges::binary_search(kTakesNumber, word); }

}  // namespace taesr::detail
