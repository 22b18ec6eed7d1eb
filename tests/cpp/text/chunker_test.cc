#include "taesr/chunker.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "core/utf8.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

std::size_t count_words(const std::string& text) {
  std::istringstream stream(text);
  std::size_t words = 0;
  for (std::string word; stream >> word;) ++words;
  return words;
}

// About what SentencePiece does: words of up to four bytes are one token, longer ones several.
std::size_t count_pieces(const std::string& text) {
  std::istringstream stream(text);
  std::size_t pieces = 0;
  for (std::string word; stream >> word;) pieces += (word.size() + 3) / 4;
  return pieces;
}

// Joining makes more tokens than the parts have.
std::size_t count_superadditive(const std::string& text) {
  return text.size() / 3 + text.size() * text.size() / 5000;
}

std::size_t count_bytes(const std::string& text) { return text.size(); }

Document make_document(std::string text, std::vector<Section> sections = {}) {
  Document document;
  document.id = "doc";
  document.text = std::move(text);
  document.sections = std::move(sections);
  return document;
}

// `sentences` sentences of `words` words each.
std::string prose(std::size_t sentences, std::size_t words, const std::string& word = "word") {
  std::string text;
  for (std::size_t s = 0; s < sentences; ++s) {
    for (std::size_t w = 0; w < words; ++w) {
      text += w == 0 ? (s == 0 ? "Start" : " Start") : " " + word;
      text += std::to_string(s);
    }
    text += '.';
  }
  return text;
}

// What holds for the chunks of any document.
void check_chunks(const Document& document, const ChunkOptions& options, const std::vector<Chunk>& chunks,
                  std::size_t (*count)(const std::string&)) {
  std::vector<bool> covered(document.text.size(), false);
  for (std::size_t i = 0; i < chunks.size(); ++i) {
    const Chunk& chunk = chunks[i];
    ASSERT_LT(chunk.begin, chunk.end);
    ASSERT_LE(chunk.end, document.text.size());
    ASSERT_EQ(chunk.text, document.text.substr(chunk.begin, chunk.end - chunk.begin));
    ASSERT_EQ(chunk.tokens, count(chunk.text));
    ASSERT_LE(chunk.tokens, options.max_tokens);
    ASSERT_EQ(detail::find_invalid_utf8(chunk.text), std::string::npos);
    ASSERT_EQ(detail::skip_space(chunk.text, 0, chunk.text.size()), 0U);
    if (i > 0) {
      ASSERT_GT(chunk.begin, chunks[i - 1].begin);
      ASSERT_GT(chunk.end, chunks[i - 1].end);
    }
    std::fill(covered.begin() + static_cast<long>(chunk.begin),
              covered.begin() + static_cast<long>(chunk.end), true);
  }
  for (std::size_t offset = 0; offset < document.text.size();) {
    const detail::CodePoint point = detail::decode_utf8(document.text, offset);
    ASSERT_TRUE(covered[offset] || detail::is_space(point.value)) << "byte " << offset << " is in no chunk";
    offset += point.length;
  }
}

TEST(Chunker, ShortDocumentIsOneChunk) {
  const Document document = make_document("  One sentence. Another one.\n");
  const auto chunks = chunk_document(document, {}, count_words);
  ASSERT_EQ(chunks.size(), 1U);
  EXPECT_EQ(chunks[0].text, "One sentence. Another one.");
  EXPECT_EQ(chunks[0].begin, 2U);
  EXPECT_EQ(chunks[0].tokens, 4U);
  EXPECT_EQ(chunks[0].section, "");
}

TEST(Chunker, EmptyAndBlankDocumentsHaveNoChunks) {
  EXPECT_TRUE(chunk_document(make_document(""), {}, count_words).empty());
  EXPECT_TRUE(chunk_document(make_document(" \n\u3000\t", {{"A", 0, 2}}), {}, count_words).empty());
}

TEST(Chunker, ChunksEndAtSentencesAndRepeatWholeOnes) {
  const Document document = make_document(prose(100, 20));
  const ChunkOptions options{.max_tokens = 250, .overlap = 50};
  const auto chunks = chunk_document(document, options, count_words);
  check_chunks(document, options, chunks, count_words);
  ASSERT_GT(chunks.size(), 5U);
  for (std::size_t i = 0; i < chunks.size(); ++i) {
    EXPECT_EQ(chunks[i].text.substr(0, 5), "Start");
    EXPECT_EQ(chunks[i].text.back(), '.');
    if (i + 1 < chunks.size()) {
      EXPECT_EQ(chunks[i].tokens, 240U);
      const std::size_t begin = chunks[i + 1].begin;
      EXPECT_EQ(count_words(document.text.substr(begin, chunks[i].end - begin)), 60U);
    }
  }
}

TEST(Chunker, OverlapLiesBetweenTheOptionAndOneHundredWhereSentencesAllow) {
  std::mt19937 random(3);
  for (const std::size_t overlap : {50U, 75U, 100U}) {
    std::string text;
    for (int s = 0; s < 300; ++s) text += prose(1, 1 + random() % 20) + " ";
    const Document document = make_document(text);
    const ChunkOptions options{.max_tokens = 300, .overlap = overlap};
    const auto chunks = chunk_document(document, options, count_words);
    check_chunks(document, options, chunks, count_words);
    for (std::size_t i = 1; i < chunks.size(); ++i) {
      const auto shared =
          count_words(document.text.substr(chunks[i].begin, chunks[i - 1].end - chunks[i].begin));
      EXPECT_GT(shared, overlap - 20);
      EXPECT_LE(shared, 100U);
    }
  }
}

TEST(Chunker, ParagraphEndsArePreferredWhenAChunkIsHalfFull) {
  const std::string paragraph = prose(8, 20);  // 160 words
  const Document document = make_document(paragraph + "\n\n" + paragraph + "\n\n" + paragraph);
  const auto chunks = chunk_document(document, {.max_tokens = 250, .overlap = 50}, count_words);
  check_chunks(document, {.max_tokens = 250}, chunks, count_words);
  ASSERT_EQ(chunks.size(), 3U);
  EXPECT_EQ(chunks[0].text, paragraph);
  EXPECT_EQ(chunks[1].end, 2 * paragraph.size() + 2);
}

TEST(Chunker, SectionsAreNotMixedUnlessShort) {
  const std::string first = prose(5, 20), second = prose(6, 20);
  const std::string text = first + "\n\n" + second;
  const Document document =
      make_document(text, {{"A", 0, first.size() + 2}, {"B", first.size() + 2, text.size()}});
  const auto chunks = chunk_document(document, {}, count_words);
  ASSERT_EQ(chunks.size(), 2U);
  EXPECT_EQ(chunks[0].section, "A");
  EXPECT_EQ(chunks[0].text, first);
  EXPECT_EQ(chunks[1].section, "B");
  EXPECT_EQ(chunks[1].text, second);
}

TEST(Chunker, ShortSectionsAreJoinedUnderTheirCommonParent) {
  std::string text;
  std::vector<Section> sections;
  for (const char* path : {"T > Cause", "T > Cause > Deep", "T > Cure"}) {
    const std::size_t begin = text.size();
    text += prose(2, 10) + "\n\n";
    sections.push_back({path, begin, text.size()});
  }
  const auto chunks = chunk_document(make_document(text, sections), {}, count_words);
  ASSERT_EQ(chunks.size(), 1U);
  EXPECT_EQ(chunks[0].section, "T");
  EXPECT_EQ(chunks[0].tokens, 60U);

  const auto parent = chunk_document(make_document(text, {sections[0], sections[1]}), {}, count_words);
  ASSERT_EQ(parent.size(), 1U);
  EXPECT_EQ(parent[0].section, "");  // the third lies in no section now
}

TEST(Chunker, ShortSectionLeadsALongOneUnderTheSameHeadingOnly) {
  const std::string intro = prose(1, 10) + "\n\n", body = prose(30, 20);
  const auto chunk = [&](const std::string& path, const std::string& next) {
    return chunk_document(make_document(intro + body, {{path, 0, intro.size()},
                                                       {next, intro.size(), intro.size() + body.size()}}),
                          {}, count_words);
  };
  const auto joined = chunk("T", "T > Body");
  EXPECT_GT(joined[0].tokens, 200U);
  EXPECT_EQ(joined[0].section, "T");
  EXPECT_EQ(joined[1].section, "T > Body");

  const auto apart = chunk("One > Last part", "Two");
  EXPECT_EQ(apart[0].tokens, 10U);
  EXPECT_EQ(apart[0].section, "One > Last part");
  EXPECT_EQ(apart[1].section, "Two");
}

TEST(Chunker, PathsShareWholeHeadingsOnly) {
  const std::string part = prose(1, 10) + "\n\n";
  const auto chunks =
      chunk_document(make_document(part + part, {{"Install > Linux", 0, part.size()},
                                                 {"Installed > Linux", part.size(), 2 * part.size()}}),
                     {}, count_words);
  ASSERT_EQ(chunks.size(), 1U);
  EXPECT_EQ(chunks[0].section, "");
}

TEST(Chunker, NothingIsRepeatedAcrossSections) {
  const std::string first = prose(30, 20) + "\n\n", second = prose(30, 20);
  const auto chunks = chunk_document(
      make_document(first + second,
                    {{"A", 0, first.size()}, {"B", first.size(), first.size() + second.size()}}),
      {}, count_words);
  const auto second_begin = std::ranges::find(chunks, std::string("B"), &Chunk::section);
  ASSERT_NE(second_begin, chunks.end());
  EXPECT_EQ(second_begin->begin, first.size());
}

TEST(Chunker, TextOutsideSectionsIsKept) {
  const std::string text = prose(12, 10) + " " + prose(12, 10);
  const std::size_t middle = text.size() / 2 + 1;
  const Document document = make_document(text, {{"A", 10, 40}, {"B", middle, text.size() - 20}});
  check_chunks(document, {}, chunk_document(document, {}, count_words), count_words);
}

TEST(Chunker, LongSentenceIsCutBetweenWordsAtLineEndsFirst) {
  std::string text;
  for (int line = 0; line < 200; ++line)
    text += (line == 0 ? "row" : "\nrow") + std::string(" of eight words in one line here");
  const Document document = make_document(text);
  const auto chunks = chunk_document(document, {}, count_words);
  check_chunks(document, {}, chunks, count_words);
  for (const Chunk& chunk : chunks) {
    EXPECT_EQ(chunk.text.substr(0, 4), "row ") << chunk.begin;
    EXPECT_EQ(chunk.text.substr(chunk.text.size() - 5), " here");
  }
}

TEST(Chunker, LongWordsAreCutBetweenCharacters) {
  std::string text;
  for (int i = 0; i < 3000; ++i) text += i % 3 == 0 ? "é" : i % 3 == 1 ? "字" : "😀";
  const Document document = make_document(text);
  check_chunks(document, {}, chunk_document(document, {}, count_bytes), count_bytes);
  check_chunks(document, {}, chunk_document(document, {}, count_words), count_words);
}

TEST(Chunker, FencedCodeStaysWholeWhereItFits) {
  std::string code = "```python\n";
  for (int i = 0; i < 20; ++i) code += "value = compute(a, b)\n\n";
  code += "```";
  const std::string text = prose(10, 20) + "\n\n" + code + "\n\n" + prose(10, 20);
  const auto chunks = chunk_document(make_document(text), {}, count_words);
  check_chunks(make_document(text), {}, chunks, count_words);
  EXPECT_TRUE(std::ranges::any_of(
      chunks, [&](const Chunk& chunk) { return chunk.text.find(code) != std::string::npos; }));
}

TEST(Chunker, HugeGapsOfWhiteSpaceEndChunks) {
  const Document document = make_document("First one." + std::string(100'000, ' ') + "Second one.");
  const auto chunks = chunk_document(document, {}, count_words);
  ASSERT_EQ(chunks.size(), 2U);
  EXPECT_EQ(chunks[1].text, "Second one.");
}

TEST(Chunker, OptionsOutOfRangeAreRefusedByName) {
  const auto message = [](const ChunkOptions& options) -> std::string {
    try {
      (void)chunk_document(make_document("x"), options, count_words);
    } catch (const InvalidArgument& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_EQ(message({.max_tokens = 199}), "ChunkOptions.max_tokens is 199, allowed are 200 to 800");
  EXPECT_EQ(message({.max_tokens = 801}), "ChunkOptions.max_tokens is 801, allowed are 200 to 800");
  EXPECT_EQ(message({.overlap = 49}), "ChunkOptions.overlap is 49, allowed are 50 to 100");
  EXPECT_EQ(message({.overlap = 101}), "ChunkOptions.overlap is 101, allowed are 50 to 100");
  EXPECT_EQ(message({.max_tokens = 200, .overlap = 100}), "accepted");
  EXPECT_EQ(message({.max_tokens = 800, .overlap = 50}), "accepted");
  EXPECT_THROW((void)chunk_document(make_document("x"), {}, nullptr), InvalidArgument);
}

TEST(Chunker, BadTextAndSectionsAreRefusedByName) {
  const auto message = [](const Document& document) -> std::string {
    try {
      (void)chunk_document(document, {}, count_words);
    } catch (const InvalidArgument& error) {
      return error.what();
    }
    return "accepted";
  };
  EXPECT_EQ(message(make_document("ab\xFF")),
            "document 'doc', text: byte 0xFF at offset 2 is not UTF-8; convert the text to UTF-8 first");
  EXPECT_EQ(message(make_document("abcd", {{"A", 3, 2}})),
            "document 'doc': section 0 ('A'), bytes 3 to 2, ends before it begins");
  EXPECT_EQ(message(make_document("abcd", {{"A", 0, 2}, {"B", 1, 3}})),
            "document 'doc': section 1 ('B'), bytes 1 to 3, overlaps the section before it");
  EXPECT_EQ(message(make_document("abcd", {{"A", 0, 9}})),
            "document 'doc': section 0 ('A'), bytes 0 to 9, reaches beyond the text of 4 bytes");
  EXPECT_EQ(message(make_document("aéb", {{"A", 0, 2}})),
            "document 'doc': section 0 ('A'), bytes 0 to 2, cuts through a UTF-8 character");
}

TEST(Chunker, CounterThatCannotBeSatisfiedIsNamed) {
  const auto huge = [](const std::string&) -> std::size_t { return 1000; };
  EXPECT_THROW((void)chunk_document(make_document("abc"), {}, huge), InvalidArgument);
  const auto thrower = [](const std::string&) -> std::size_t { throw std::out_of_range("mine"); };
  EXPECT_THROW((void)chunk_document(make_document("abc"), {}, thrower), std::out_of_range);
}

Document random_document(std::mt19937& random) {
  static const std::vector<std::string> kPieces = {"word ",       "Longerword ",
                                                   ". ",          ". Next ",
                                                   "? ",          "\n",
                                                   "\n\n",        "- item ",
                                                   "字",          "。",
                                                   "é",           "😀",
                                                   "\u00a0",      "\u3000",
                                                   "| a | b |\n", "```\n",
                                                   "\n# Head\n",  "supercalifragilisticexpialidocious",
                                                   "    ",        std::string(1, '\0'),
                                                   "e.g. "};
  // Few kinds of pieces in each document, so that some have no stops, no blanks, or no letters.
  std::vector<std::string> palette;
  for (std::size_t i = 0, n = 1 + random() % 8; i < n; ++i)
    palette.push_back(kPieces[random() % kPieces.size()]);
  std::string text;
  for (std::size_t i = 0, n = random() % 2500; i < n; ++i) text += palette[random() % palette.size()];
  std::vector<Section> sections;
  std::size_t begin = 0;
  for (std::size_t i = 0, n = random() % 12; i < n && begin < text.size(); ++i) {
    std::size_t end = begin + random() % (text.size() / 4 + 1);
    while (!detail::is_boundary(text, std::min(end, text.size()))) ++end;
    end = std::min(end, text.size());
    if (random() % 4 != 0)
      sections.push_back({std::string("T > ") + static_cast<char>('A' + i % 3), begin, end});
    begin = end;
  }
  return make_document(std::move(text), std::move(sections));
}

TEST(Chunker, GuaranteesHoldForAnyTextSectionsAndCounter) {
  std::mt19937 random(11);
  std::size_t (*const counters[])(const std::string&) = {count_words, count_pieces, count_bytes,
                                                         count_superadditive};
  for (int round = 0; round < 600; ++round) {
    const Document document = random_document(random);
    const ChunkOptions options{.max_tokens = 200 + random() % 601, .overlap = 50 + random() % 51};
    const auto counter = counters[round % 4];
    const auto chunks = chunk_document(document, options, counter);
    check_chunks(document, options, chunks, counter);
    if (HasFatalFailure()) FAIL() << "round " << round;
    for (std::size_t i = 1; i < chunks.size(); ++i) {
      if (chunks[i].begin >= chunks[i - 1].end) continue;
      // What is repeated lies in one section, and a path never names a section that the chunk leaves.
      for (const Section& section : document.sections) {
        const bool inside = section.begin <= chunks[i].begin && chunks[i - 1].end <= section.end;
        const bool outside = section.end <= chunks[i].begin || chunks[i - 1].end <= section.begin;
        ASSERT_TRUE(inside || outside) << "round " << round;
      }
    }
    ASSERT_EQ(chunk_document(document, options, counter).size(), chunks.size()) << "not deterministic";
  }
}

struct Cost {
  std::size_t calls = 0;
  std::size_t bytes = 0;
  std::size_t longest = 0;
  double seconds = 0;
};

Cost cost_of(const Document& document, const ChunkOptions& options,
             std::size_t (*count)(const std::string&)) {
  Cost cost;
  const auto begin = std::chrono::steady_clock::now();
  (void)chunk_document(document, options, [&](const std::string& text) {
    ++cost.calls;
    cost.bytes += text.size();
    cost.longest = std::max(cost.longest, text.size());
    return count(text);
  });
  cost.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return cost;
}

TEST(Chunker, EachByteIsCountedAFewTimes) {
  std::string words, letters, chinese;
  for (int i = 0; i < 300'000; ++i) words += "word" + std::to_string(i % 97) + ' ';
  for (int i = 0; i < 1'000'000; ++i) letters += static_cast<char>('a' + i % 26);
  for (int i = 0; i < 300'000; ++i) chinese += i % 30 == 29 ? "。" : "字";
  for (const std::string& text : {prose(20'000, 15), words, letters, chinese}) {
    for (const ChunkOptions options : {ChunkOptions{}, ChunkOptions{.max_tokens = 200, .overlap = 100},
                                       ChunkOptions{.max_tokens = 800, .overlap = 50}}) {
      const Document document = make_document(text);
      const Cost cost = cost_of(document, options, count_pieces);
      const double passes = static_cast<double>(cost.bytes) / static_cast<double>(text.size());
      EXPECT_LE(passes, options.overlap == 100 ? 4.0 : 3.0);
      EXPECT_LE(cost.calls, text.size() / 10);
      EXPECT_LE(cost.longest, options.max_tokens * 16);
    }
  }
}

TEST(Chunker, CounterThatIsNotAdditiveIsLearntFromTheChunkBefore) {
  const Document document = make_document(prose(5'000, 3));
  const Cost cost = cost_of(document, {}, count_superadditive);
  EXPECT_LE(static_cast<double>(cost.bytes) / static_cast<double>(document.text.size()),
            5.0);  // 7.8 unlearnt
}

TEST(Chunker, FiftyMegabytesInOneLineTakeSeconds) {
  const std::string line(50'000'000, 'x');
  const auto count = [](const std::string& text) -> std::size_t { return text.size() / 4 + 1; };
  const Cost cost = cost_of(make_document(line), {}, count);
  RecordProperty("seconds", std::to_string(cost.seconds));
  EXPECT_LT(cost.seconds, 20.0);  // 0.2 s on a desktop; sanitizers and busy machines are slower
}

TEST(Chunker, ManySectionsTakeLinearTime) {
  std::string text;
  std::vector<Section> sections;
  for (int i = 0; i < 200'000; ++i) {
    const std::size_t begin = text.size();
    text += "# H\n";
    sections.push_back({"T > " + std::to_string(i), begin, text.size()});
  }
  const Document document = make_document(text, sections);
  EXPECT_LT(cost_of(document, {}, count_words).seconds, 10.0);
}

}  // namespace
}  // namespace taesr
