#include "index/analyzer.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "core/utf8.h"
#include "index/porter_stemmer.h"
#include "index/unicode.h"

namespace taesr {
namespace {

using Terms = std::vector<std::string>;

TEST(PorterStemmer, GivesTheStemsOfTheExamplesInThePaper) {
  const std::map<std::string, std::string> examples = {{"caresses", "caress"},
                                                       {"ponies", "poni"},
                                                       {"ties", "ti"},
                                                       {"caress", "caress"},
                                                       {"cats", "cat"},
                                                       {"feed", "feed"},
                                                       {"agreed", "agre"},
                                                       {"plastered", "plaster"},
                                                       {"bled", "bled"},
                                                       {"motoring", "motor"},
                                                       {"sing", "sing"},
                                                       {"conflated", "conflat"},
                                                       {"troubled", "troubl"},
                                                       {"sized", "size"},
                                                       {"hopping", "hop"},
                                                       {"tanned", "tan"},
                                                       {"falling", "fall"},
                                                       {"hissing", "hiss"},
                                                       {"fizzed", "fizz"},
                                                       {"failing", "fail"},
                                                       {"filing", "file"},
                                                       {"happy", "happi"},
                                                       {"sky", "sky"},
                                                       {"relational", "relat"},
                                                       {"conditional", "condit"},
                                                       {"rational", "ration"},
                                                       {"valenci", "valenc"},
                                                       {"hesitanci", "hesit"},
                                                       {"digitizer", "digit"},
                                                       {"conformabli", "conform"},
                                                       {"radicalli", "radic"},
                                                       {"differentli", "differ"},
                                                       {"vileli", "vile"},
                                                       {"analogousli", "analog"},
                                                       {"vietnamization", "vietnam"},
                                                       {"predication", "predic"},
                                                       {"operator", "oper"},
                                                       {"feudalism", "feudal"},
                                                       {"decisiveness", "decis"},
                                                       {"hopefulness", "hope"},
                                                       {"callousness", "callous"},
                                                       {"formaliti", "formal"},
                                                       {"sensitiviti", "sensit"},
                                                       {"sensibiliti", "sensibl"},
                                                       {"triplicate", "triplic"},
                                                       {"formative", "form"},
                                                       {"formalize", "formal"},
                                                       {"electriciti", "electr"},
                                                       {"electrical", "electr"},
                                                       {"hopeful", "hope"},
                                                       {"goodness", "good"},
                                                       {"revival", "reviv"},
                                                       {"allowance", "allow"},
                                                       {"inference", "infer"},
                                                       {"airliner", "airlin"},
                                                       {"gyroscopic", "gyroscop"},
                                                       {"adjustable", "adjust"},
                                                       {"defensible", "defens"},
                                                       {"irritant", "irrit"},
                                                       {"replacement", "replac"},
                                                       {"adjustment", "adjust"},
                                                       {"dependent", "depend"},
                                                       {"adoption", "adopt"},
                                                       {"homologou", "homolog"},
                                                       {"communism", "commun"},
                                                       {"activate", "activ"},
                                                       {"angulariti", "angular"},
                                                       {"homologous", "homolog"},
                                                       {"effective", "effect"},
                                                       {"bowdlerize", "bowdler"},
                                                       {"probate", "probat"},
                                                       {"rate", "rate"},
                                                       {"cease", "ceas"},
                                                       {"controll", "control"},
                                                       {"roll", "roll"},
                                                       {"generalizations", "gener"},
                                                       {"oscillators", "oscil"}};
  for (const auto& [word, stem] : examples) EXPECT_EQ(porter_stem(word), stem) << word;
}

TEST(PorterStemmer, LeavesShortAndForeignWordsAlone) {
  for (const std::string word : {"", "a", "is", "2024", "größe", "日本語"})
    EXPECT_EQ(porter_stem(word), word);
  EXPECT_EQ(porter_stem(std::string(256, 'y')).size(), 256u);
}

TEST(Analyzer, FoldsCaseDropsStopWordsAndStems) {
  EXPECT_EQ(analyze("The Passwords of Users are RESET"), (Terms{"password", "user", "reset"}));
}

TEST(Analyzer, KeepsRunsOfTwoOrMoreWordCharacters) {
  EXPECT_EQ(analyze("x yz a1 error_code 0x80070005 don't e-mail C++"),
            (Terms{"yz", "a1", "error_cod", "0x80070005", "don", "mail"}));
}

TEST(Analyzer, FoldsCaseBeyondAscii) {
  EXPECT_EQ(analyze("ÄRGER Łódź ŠKODA ΑΘΗΝΑ МОСКВА"), (Terms{"ärger", "łódź", "škoda", "αθηνα", "москва"}));
}

TEST(Analyzer, SeparatesAtPunctuationBeyondAscii) {
  EXPECT_EQ(analyze("price—list “quoted” naïve…end 中文。日本"),
            (Terms{"price", "list", "quot", "naïv", "end", "中文", "日本"}));
}

TEST(Analyzer, TakesAnyBytes) {
  EXPECT_TRUE(analyze("").empty());
  EXPECT_EQ(analyze(std::string("disk\0full", 9)), (Terms{"disk", "full"}));
  EXPECT_EQ(analyze("disk\xff\xfe"
                    "full \xc3"),
            (Terms{"disk", "full"}));
  EXPECT_TRUE(analyze(std::string(1 << 20, 'x')).empty()) << "no word has a megabyte";
  std::mt19937 random(3);
  for (int round = 0; round < 2000; ++round) {
    std::string noise(random() % 64, '\0');
    for (char& c : noise) c = static_cast<char>(random());
    for (const std::string& term : analyze(noise))
      EXPECT_EQ(detail::find_invalid_utf8(term), std::string::npos);
  }
}

TEST(Unicode, EncodesWhatItDecodes) {
  for (char32_t code = 0; code <= 0x10ffff; ++code) {
    if (code >= 0xd800 && code < 0xe000) continue;
    std::string text;
    append_utf8(text, code);
    const detail::CodePoint character = detail::decode_utf8(text, 0);
    ASSERT_TRUE(character.value == code && character.length == text.size())
        << static_cast<std::uint32_t>(code);
  }
}

}  // namespace
}  // namespace taesr
