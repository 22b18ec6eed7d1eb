#include "index/keyword_index.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <random>

#include "index/analyzer.h"
#include "support/files.h"
#include "support/temporary_directory.h"

namespace taesr {
namespace {

using Corpus = std::map<std::int64_t, std::string>;

/// BM25 by the formula, over all chunks, from the terms alone.
std::vector<Candidate> reference_search(const Corpus& corpus, const std::string& query, std::size_t k) {
  std::map<std::int64_t, std::vector<std::string>> terms;
  double total_length = 0;
  for (const auto& [id, text] : corpus) {
    terms[id] = analyze(text);
    total_length += static_cast<double>(terms[id].size());
  }
  const auto n = static_cast<double>(corpus.size());
  const auto frequency = [](const std::vector<std::string>& words, const std::string& term) {
    return static_cast<double>(std::count(words.begin(), words.end(), term));
  };
  std::vector<Candidate> found;
  for (const auto& [id, words] : terms) {
    double score = 0;
    for (const std::string& term : analyze(query)) {
      double df = 0;
      for (const auto& [other, other_words] : terms) df += frequency(other_words, term) > 0 ? 1 : 0;
      const double tf = frequency(words, term);
      const double length = static_cast<double>(words.size()) / (total_length / n);
      score += std::log(1 + (n - df + 0.5) / (df + 0.5)) * tf / (tf + 1.5 * (1 - 0.75 + 0.75 * length));
    }
    if (score > 0) found.push_back({id, static_cast<float>(score)});
  }
  std::sort(found.begin(), found.end(), [](const Candidate& a, const Candidate& b) {
    return std::abs(a.score - b.score) > 1e-6f ? a.score > b.score : a.chunk < b.chunk;
  });
  if (found.size() > k) found.resize(k);
  return found;
}

std::string random_text(std::mt19937& random, std::size_t words) {
  std::string text;
  for (std::size_t i = 0; i < words; ++i) {
    // Squared, so that some words are common and most are rare.
    const double u = std::uniform_real_distribution<double>()(random);
    text += "word" + std::to_string(static_cast<int>(u * u * 120)) + " ";
  }
  return text;
}

Corpus random_corpus(std::mt19937& random, std::size_t size) {
  Corpus corpus;
  for (std::size_t i = 0; i < size; ++i)
    corpus[static_cast<std::int64_t>(2 * i + 5)] = random_text(random, 1 + random() % 30);
  return corpus;
}

KeywordIndex make_index(const Corpus& corpus) {
  KeywordIndex index;
  for (const auto& [id, text] : corpus) index.append(id, text);
  return index;
}

void expect_same(const std::vector<Candidate>& actual, const std::vector<Candidate>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) {
    EXPECT_NEAR(actual[i].score, expected[i].score, 1e-5) << "rank " << i;
    // Neighbours whose scores differ by rounding only may change places.
    if (i > 0 && expected[i - 1].score - expected[i].score < 1e-5) continue;
    if (i + 1 < expected.size() && expected[i].score - expected[i + 1].score < 1e-5) continue;
    if (i + 1 == expected.size()) continue;
    EXPECT_EQ(actual[i].chunk, expected[i].chunk) << "rank " << i;
  }
}

TEST(KeywordIndex, ScoresAsTheFormulaSays) {
  std::mt19937 random(1);
  const Corpus corpus = random_corpus(random, 200);
  const KeywordIndex index = make_index(corpus);
  for (int i = 0; i < 50; ++i) {
    const std::string query = random_text(random, 1 + random() % 6);
    expect_same(index.search(query, 20), reference_search(corpus, query, 20));
  }
}

TEST(KeywordIndex, ScoresAfterRemovalAsIfMadeAnew) {
  std::mt19937 random(2);
  Corpus corpus = random_corpus(random, 200);
  KeywordIndex index = make_index(corpus);
  std::int64_t next = 1000;
  for (int round = 0; round < 20; ++round) {
    IdList gone;
    for (const auto& [id, text] : corpus) {
      if (random() % 10 == 0) gone.push_back(id);
    }
    for (const std::int64_t id : gone) corpus.erase(id);
    index.remove(gone);
    for (int i = 0; i < 8; ++i) {
      corpus[next] = random_text(random, 12);
      index.append(next, corpus[next]);
      ++next;
    }
    const std::string query = random_text(random, 4);
    ASSERT_EQ(index.size(), corpus.size());
    expect_same(index.search(query, 300), reference_search(corpus, query, 300));
  }
}

TEST(KeywordIndex, CountsARepeatedQueryTermAsOften) {
  const KeywordIndex index = make_index({{1, "printer offline"}, {2, "mailbox full"}});
  const float once = index.search("printer", 1).at(0).score;
  EXPECT_NEAR(index.search("printer printer", 1).at(0).score, 2 * once, 1e-6);
}

TEST(KeywordIndex, ReturnsAtMostKOfTheLiveOnes) {
  for (const std::size_t deleted : {0, 1, 5, 9, 10}) {
    Corpus corpus;
    for (int i = 1; i <= 10; ++i) corpus[i] = "printer number" + std::to_string(i);
    KeywordIndex index = make_index(corpus);
    IdList gone;
    for (std::size_t i = 1; i <= deleted; ++i) gone.push_back(static_cast<std::int64_t>(i));
    index.remove(gone);
    index.remove(gone);  // again: unknown by now
    for (const std::size_t k : {0, 1, 10, 11, 100}) {
      EXPECT_EQ(index.search("printer", k).size(), std::min(k, 10 - deleted));
    }
  }
}

TEST(KeywordIndex, BreaksTiesByTheSmallerId) {
  const KeywordIndex index = make_index({{3, "same words"}, {7, "same words"}, {9, "same words"}});
  const auto found = index.search("words", 2);
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].chunk, 3);
  EXPECT_EQ(found[1].chunk, 7);
}

TEST(KeywordIndex, KeepsToTheAllowedIds) {
  const KeywordIndex index = make_index({{1, "disk full"}, {2, "disk error"}, {3, "disk"}, {4, "paper"}});
  const IdList allowed = {2, 4, 99};
  const auto found = index.search("disk", 10, &allowed);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].chunk, 2);
  const IdList none;
  EXPECT_TRUE(index.search("disk", 10, &none).empty());
}

TEST(KeywordIndex, FindsNothingForQueriesWithoutKnownTerms) {
  const KeywordIndex index = make_index({{1, "disk full"}});
  for (const std::string query : {"", "the of and", "unknownword", "\xff\xfe", "?!"}) {
    EXPECT_TRUE(index.search(query, 10).empty()) << query;
  }
  EXPECT_TRUE(KeywordIndex().search("disk", 10).empty());
}

TEST(KeywordIndex, IsTheSameAfterSavingAndLoading) {
  std::mt19937 random(4);
  const Corpus corpus = random_corpus(random, 120);
  KeywordIndex index = make_index(corpus);
  index.remove({5, 9, 13});
  const testing::TemporaryDirectory directory;
  const IndexOrigin origin{IndexKind::kKeyword, "model", {3, 4}};
  write_index_file(directory.path() / "keyword.idx", origin, index.save());
  const KeywordIndex loaded = KeywordIndex::load(IndexFile(directory.path() / "keyword.idx"));
  EXPECT_EQ(loaded.live_ids(), index.live_ids());
  for (int i = 0; i < 20; ++i) {
    const std::string query = random_text(random, 3);
    const auto before = index.search(query, 50);
    const auto after = loaded.search(query, 50);
    ASSERT_EQ(before.size(), after.size());
    for (std::size_t j = 0; j < before.size(); ++j) {
      EXPECT_EQ(before[j].chunk, after[j].chunk);
      EXPECT_EQ(before[j].score, after[j].score);
    }
  }
}

}  // namespace
}  // namespace taesr
