#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <string>

#include "index/keyword_index.h"

namespace taesr {
namespace {

TEST(KeywordTerms, AddUpToTheScoresOfTheSearchTheyExplain) {
  std::mt19937 random(5);
  KeywordIndex index;
  for (std::int64_t id = 1; id <= 400; ++id) {
    std::string text;
    for (int word = 0; word < 30; ++word) {
      text += "word" + std::to_string(random() % (1 + random() % 90)) + " ";
    }
    index.append(id * 2, text);
  }
  IdList gone;
  for (std::int64_t id = 2; id <= 200; id += 6) gone.push_back(id);
  index.remove(gone);
  const std::string query = "word1 word7 word7 word30 word500 the";
  const auto found = index.search(query, 1000);
  ASSERT_GT(found.size(), 100u);
  std::vector<std::int64_t> ids;
  for (const Candidate& candidate : found) ids.push_back(candidate.chunk);
  const auto terms = index.term_scores(query, ids);
  for (std::size_t i = 0; i < found.size(); ++i) {
    float sum = 0;
    for (const TermScore& term : terms[i]) {
      EXPECT_GT(term.score, 0);
      sum += term.score;
    }
    EXPECT_EQ(sum, found[i].score) << "to the last bit";
    EXPECT_TRUE(std::is_sorted(terms[i].begin(), terms[i].end(),
                               [](const TermScore& a, const TermScore& b) { return a.term < b.term; }));
  }
}

TEST(KeywordTerms, OfChunksThatAreNotThereAreNone) {
  KeywordIndex index;
  for (std::int64_t id = 1; id <= 10; ++id) index.append(id, "printer offline");
  index.remove({3});
  const std::vector<std::int64_t> ids = {3, 99, -1, 4};
  const auto terms = index.term_scores("printer", ids);
  ASSERT_EQ(terms.size(), 4u);
  for (const std::size_t i : {0, 1, 2}) EXPECT_TRUE(terms[i].empty());
  ASSERT_EQ(terms[3].size(), 1u);
  EXPECT_EQ(terms[3][0].term, "printer");
  EXPECT_TRUE(KeywordIndex().term_scores("printer", ids)[0].empty());
}

}  // namespace
}  // namespace taesr
