#include <gtest/gtest.h>

#include <chrono>
#include <random>
#include <string>
#include <vector>

#include "core/utf8.h"
#include "taesr/chunker.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

using Strings = std::vector<std::string>;

Strings sentences(const std::string& text) {
  Strings found;
  for (const TextSpan& span : split_sentences(text))
    found.push_back(text.substr(span.begin, span.end - span.begin));
  return found;
}

void expect_sentences(const std::vector<std::pair<std::string, Strings>>& cases) {
  for (const auto& [text, expected] : cases) EXPECT_EQ(sentences(text), expected) << text;
}

TEST(Sentences, EndAtStopsBeforeACapital) {
  expect_sentences({
      {"", {}},
      {" \n\t ", {}},
      {"One", {"One"}},
      {"One. Two! Three? Four", {"One.", "Two!", "Three?", "Four"}},
      {"  One.\n\n  Two.  ", {"One.", "Two."}},
      {"Wrapped over\ntwo lines. Next\none.", {"Wrapped over\ntwo lines.", "Next\none."}},
      {"What?! No way.", {"What?!", "No way."}},
      {"Über allem. Ärger droht.", {"Über allem.", "Ärger droht."}},
      {"Это конец. Новое начало.", {"Это конец.", "Новое начало."}},
      {"Je to příliš dlouhé. Škoda. Text. šroub dál.",
       {"Je to příliš dlouhé.", "Škoda.", "Text. šroub dál."}},
      {"It runs. 3 users saw it.", {"It runs.", "3 users saw it."}},
      {"The word setup.exe ends it. outlook.exe starts.",
       {"The word setup.exe ends it. outlook.exe starts."}},
  });
}

TEST(Sentences, AbbreviationsAndInitialsDoNotEndThem) {
  for (const char* text : {
           "Ask Dr. Smith or Mrs. Jones about it.",
           "Use a client, e.g. Outlook, or a server, i.e. Exchange.",
           "J. R. R. Tolkien wrote it.",
           "The U.S. Government paid.",
           "Cats vs. Dogs is a data set.",
           "See Fig. 3 and No. 7 for it.",
           "Acme Inc. sells it.",
           "It was on Jan. 5 at noon.",
           "A. S. Puschkin schrieb z.B. Gedichte.",
           "А. С. Пушкин писал.",
           "Files (approx. Ten) were lost.",
       }) {
    EXPECT_EQ(sentences(text), Strings{text});
  }
  expect_sentences({
      {"He works at Acme Inc. They sell cars.", {"He works at Acme Inc.", "They sell cars."}},
      {"Bring pens, paper, etc. Then sit down.", {"Bring pens, paper, etc.", "Then sit down."}},
      {"I live in the U.S. The weather is fine.", {"I live in the U.S.", "The weather is fine."}},
      {"Is it on? No. Try again.", {"Is it on?", "No.", "Try again."}},
      {"I don't. Outlook does.", {"I don't.", "Outlook does."}},
      {"They left at 5 p.m. We stayed.", {"They left at 5 p.m.", "We stayed."}},
  });
}

TEST(Sentences, NumbersVersionsAndAddressesStayWhole) {
  expect_sentences({
      {"Pi is 3.14. Python 3.11.2 is out. Done.", {"Pi is 3.14.", "Python 3.11.2 is out.", "Done."}},
      {"See https://example.com/a.b?c=d!e. Then go on.",
       {"See https://example.com/a.b?c=d!e.", "Then go on."}},
      {"Mail me@example.com. Use Node.js or .NET. Thanks.",
       {"Mail me@example.com.", "Use Node.js or .NET.", "Thanks."}},
      {"Open C:\\a.b\\c.txt. Close it.", {"Open C:\\a.b\\c.txt.", "Close it."}},
      {"Step 1. Open the file. Step 2. Close it.", {"Step 1. Open the file.", "Step 2. Close it."}},
      {"192.168.0.1 is taken. Take another.", {"192.168.0.1 is taken.", "Take another."}},
  });
}

TEST(Sentences, QuotesBracketsAndEllipses) {
  expect_sentences({
      {"He said \"Stop.\" Then he left.", {"He said \"Stop.\"", "Then he left."}},
      {"“Really?” he asked. “Yes!” She nodded.", {"“Really?” he asked.", "“Yes!”", "She nodded."}},
      {"(It failed.) Try again.", {"(It failed.)", "Try again."}},
      {"Wait... what? Well… Yes.", {"Wait... what?", "Well…", "Yes."}},
      {"It goes . . . on and on. End.", {"It goes . . . on and on.", "End."}},
      {"**Note.** Do it. \"Now.\" (Then.) ‘End.’", {"**Note.**", "Do it.", "\"Now.\"", "(Then.)", "‘End.’"}},
      {"First. (Second is here.) Third.", {"First.", "(Second is here.)", "Third."}},
      {"It has several (e.g. three. four) parts.", {"It has several (e.g. three. four) parts."}},
  });
}

TEST(Sentences, OtherScriptsNeedNoBlank) {
  expect_sentences({
      {"これは文です。次の文です！終わり", {"これは文です。", "次の文です！", "終わり"}},
      {"「はい。」彼は言った。", {"「はい。」", "彼は言った。"}},
      {"你好吗？我很好。谢谢", {"你好吗？", "我很好。", "谢谢"}},
      {"यह वाक्य है। यह दूसरा है।", {"यह वाक्य है।", "यह दूसरा है।"}},
      {"هل هذا سؤال؟ نعم.", {"هل هذا سؤال؟", "نعم."}},
  });
}

TEST(Sentences, MarkdownLinesBeginNewOnes) {
  expect_sentences({
      {"Do this:\n- first item\n- second item\n  goes on\n- third. With two sentences.",
       {"Do this:", "- first item", "- second item\n  goes on", "- third.", "With two sentences."}},
      {"1. Open it. Then\n   save it.\n2) Close it\na) or not",
       {"1. Open it.", "Then\n   save it.", "2) Close it", "a) or not"}},
      {"• one\n• two", {"• one", "• two"}},
      {"# Title\nText goes. On.\n## Next", {"# Title", "Text goes.", "On.", "## Next"}},
      {"Title\n=====\nText", {"Title", "=====", "Text"}},
      {"| a. B | c |\n|---|---|\n| 1. X | 2 |\nAfter",
       {"| a. B | c |", "|---|---|", "| 1. X | 2 |", "After"}},
      {"Run:\n\n    make. All\n    make test\n\nDone.", {"Run:", "make. All", "make test", "Done."}},
      {"Dash - is. No list\n-not a list", {"Dash - is.", "No list\n-not a list"}},
      {"* not emphasis", {"* not emphasis"}},
      {"It ended in\n2024. Too bad", {"It ended in\n2024.", "Too bad"}},
  });
}

TEST(Sentences, FencedCodeIsOne) {
  expect_sentences({
      {"Run.\n```sh\na. B\n\n# c\n```\nDone. Now.", {"Run.", "```sh\na. B\n\n# c\n```", "Done.", "Now."}},
      {"~~~\n```\nx. Y\n~~~\nZ", {"~~~\n```\nx. Y\n~~~", "Z"}},
      {"```\nnever closed. So\nit is prose.", {"```", "never closed.", "So\nit is prose."}},
  });
}

TEST(Sentences, WindowsLineEndsAreWhiteSpace) {
  expect_sentences({{"One.\r\n\r\nTwo\r\n- three\r\n", {"One.", "Two", "- three"}}});
}

TEST(Sentences, InvalidTextIsRefusedWithItsOffset) {
  try {
    (void)split_sentences("abc \xED\xA0\x80");
    FAIL();
  } catch (const InvalidArgument& error) {
    EXPECT_NE(std::string(error.what()).find("0xED at offset 4"), std::string::npos) << error.what();
  }
}

std::string random_text(std::mt19937& random, std::size_t pieces) {
  static const Strings kPieces = {"word",   "Word",  ".",    ". ",   "? ",   "! ",     "...",
                                  "…",      "。",    "\n",   "\n\n", "- ",   "1. ",    "| a | b |",
                                  "```",    "~~~\n", "# ",   "    ", "\t",   "\u00a0", "\u3000",
                                  "é",      "文字",  "😀",   "\"",   "”",    "(",      ")",
                                  "e.g.",   "Dr.",   "U.S.", "3.14", "\r\n", "a) ",    std::string(1, '\0'),
                                  "\u200b", "===",   "'",    "*",    "[1]",  "\u2028"};
  std::string text;
  for (std::size_t i = 0; i < pieces; ++i) text += kPieces[random() % kPieces.size()];
  return text;
}

TEST(Sentences, OfAnyTextAreOrderedTrimmedWholeCharactersAndCoverIt) {
  std::mt19937 random(7);
  for (int round = 0; round < 3000; ++round) {
    const std::string text = random_text(random, random() % 60);
    std::size_t covered = 0;
    for (const TextSpan& span : split_sentences(text)) {
      ASSERT_LT(span.begin, span.end) << text;
      ASSERT_GE(span.begin, covered) << text;
      ASSERT_TRUE(detail::is_boundary(text, span.begin) && detail::is_boundary(text, span.end));
      ASSERT_EQ(detail::skip_space(text, covered, span.begin), span.begin) << "lost text in: " << text;
      ASSERT_EQ(detail::skip_space(text, span.begin, span.end), span.begin);
      ASSERT_EQ(detail::trim_space(text, span.begin, span.end), span.end);
      covered = span.end;
    }
    ASSERT_EQ(detail::skip_space(text, covered, text.size()), text.size()) << "lost the end of: " << text;
  }
}

TEST(Sentences, TakeLinearTimeOnHostileText) {
  constexpr std::size_t kBytes = 1 << 20;  // quadratic time would be minutes
  const auto repeat = [](const std::string& piece) {
    std::string text;
    while (text.size() < kBytes) text += piece;
    return text;
  };
  for (const std::string piece : {".",      ". ",
                                  ".)",     "a",
                                  " ",      "\n",
                                  "```x\n", "~~~x\n```x\n",
                                  "e.g. ",  "。",
                                  "1",      "'",
                                  "(",      ".                ",
                                  "A. ",    "#",
                                  "|",      "-",
                                  "\n    ", "- ",
                                  "😀"}) {
    const std::string text = repeat(piece);
    const auto begin = std::chrono::steady_clock::now();
    (void)split_sentences(text);
    EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10))
        << "'" << piece << "' repeated";
  }
}

}  // namespace
}  // namespace taesr
