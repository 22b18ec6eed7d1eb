#include "index/porter_stemmer.h"

#include <array>
#include <cstddef>
#include <span>

namespace taesr {
namespace {

/// The word being stripped. Names and steps follow the paper.
class Stem {
 public:
  explicit Stem(std::string_view word) : word_(word) {}

  void step_1a() {
    if (ends("sses") || ends("ies")) {
      drop(2);
    } else if (!ends("ss") && ends("s")) {
      drop(1);
    }
  }

  void step_1b() {
    if (ends("eed")) {
      if (measure(3) > 0) drop(1);
      return;
    }
    if (ends("ed") && has_vowel(2)) {
      drop(2);
    } else if (ends("ing") && has_vowel(3)) {
      drop(3);
    } else {
      return;
    }
    if (ends("at") || ends("bl") || ends("iz")) {
      word_ += 'e';
    } else if (ends_in_double_consonant() && !ends("l") && !ends("s") && !ends("z")) {
      drop(1);
    } else if (measure(0) == 1 && ends_cvc(0)) {
      word_ += 'e';
    }
  }

  void step_1c() {
    if (ends("y") && has_vowel(1)) word_.back() = 'i';
  }

  /// The longest suffix that fits is replaced if the stem before it measures more than `threshold`;
  /// shorter ones are not tried then.
  struct Rule {
    std::string_view suffix;
    std::string_view replacement;
  };
  void replace_longest(std::span<const Rule> rules, int threshold) {
    const Rule* best = nullptr;
    for (const Rule& rule : rules) {
      if (ends(rule.suffix) && (best == nullptr || rule.suffix.size() > best->suffix.size())) best = &rule;
    }
    if (best == nullptr || measure(best->suffix.size()) <= threshold) return;
    // "ion" goes only after s or t.
    if (best->suffix == "ion" && !ends("sion") && !ends("tion")) return;
    drop(best->suffix.size());
    word_ += best->replacement;
  }

  void step_5() {
    if (ends("e") && (measure(1) > 1 || (measure(1) == 1 && !ends_cvc(1)))) drop(1);
    if (measure(0) > 1 && ends("l") && ends_in_double_consonant()) drop(1);
  }

  [[nodiscard]] std::string take() { return std::move(word_); }

 private:
  [[nodiscard]] bool ends(std::string_view suffix) const { return word_.ends_with(suffix); }
  void drop(std::size_t count) { word_.resize(word_.size() - count); }

  [[nodiscard]] bool is_consonant(std::size_t i) const {
    switch (word_[i]) {
      case 'a':
      case 'e':
      case 'i':
      case 'o':
      case 'u':
        return false;
      case 'y':
        return i == 0 || !is_consonant(i - 1);
      default:
        return true;
    }
  }

  /// m: how often a vowel is followed by a consonant, before a suffix of `suffix` letters.
  [[nodiscard]] int measure(std::size_t suffix) const {
    int count = 0;
    bool previous_is_vowel = false;
    for (std::size_t i = 0; i + suffix < word_.size(); ++i) {
      // is_consonant would look back along a run of y's each time; the class before decides.
      const bool vowel = word_[i] == 'y' ? i > 0 && !previous_is_vowel : !is_consonant(i);
      if (!vowel && previous_is_vowel) ++count;
      previous_is_vowel = vowel;
    }
    return count;
  }

  [[nodiscard]] bool has_vowel(std::size_t suffix) const {
    for (std::size_t i = 0; i + suffix < word_.size(); ++i) {
      if (!is_consonant(i)) return true;
    }
    return false;
  }

  [[nodiscard]] bool ends_in_double_consonant() const {
    const std::size_t n = word_.size();
    return n >= 2 && word_[n - 1] == word_[n - 2] && is_consonant(n - 1);
  }

  /// Consonant, vowel, consonant other than w, x, y before the suffix: the stem of "hop(ing)".
  [[nodiscard]] bool ends_cvc(std::size_t suffix) const {
    const std::size_t n = word_.size() - suffix;
    if (n < 3 || !is_consonant(n - 1) || is_consonant(n - 2) || !is_consonant(n - 3)) return false;
    return word_[n - 1] != 'w' && word_[n - 1] != 'x' && word_[n - 1] != 'y';
  }

  std::string word_;
};

constexpr std::array<Stem::Rule, 20> kStep2 = {{
    {"ational", "ate"}, {"tional", "tion"}, {"enci", "ence"}, {"anci", "ance"}, {"izer", "ize"},
    {"abli", "able"},   {"alli", "al"},     {"entli", "ent"}, {"eli", "e"},     {"ousli", "ous"},
    {"ization", "ize"}, {"ation", "ate"},   {"ator", "ate"},  {"alism", "al"},  {"iveness", "ive"},
    {"fulness", "ful"}, {"ousness", "ous"}, {"aliti", "al"},  {"iviti", "ive"}, {"biliti", "ble"},
}};
constexpr std::array<Stem::Rule, 7> kStep3 = {{
    {"icate", "ic"},
    {"ative", ""},
    {"alize", "al"},
    {"iciti", "ic"},
    {"ical", "ic"},
    {"ful", ""},
    {"ness", ""},
}};
constexpr std::array<Stem::Rule, 19> kStep4 = {{
    {"al", ""},  {"ance", ""},  {"ence", ""}, {"er", ""},  {"ic", ""},  {"able", ""}, {"ible", ""},
    {"ant", ""}, {"ement", ""}, {"ment", ""}, {"ent", ""}, {"ion", ""}, {"ou", ""},   {"ism", ""},
    {"ate", ""}, {"iti", ""},   {"ous", ""},  {"ive", ""}, {"ize", ""},
}};

}  // namespace

std::string porter_stem(std::string_view word) {
  if (word.size() <= 2) return std::string(word);
  Stem stem(word);
  stem.step_1a();
  stem.step_1b();
  stem.step_1c();
  stem.replace_longest(kStep2, 0);
  stem.replace_longest(kStep3, 0);
  stem.replace_longest(kStep4, 1);
  stem.step_5();
  return stem.take();
}

}  // namespace taesr
