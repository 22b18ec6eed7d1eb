#include "taesr/retriever.h"

#include <gtest/gtest.h>

#include <limits>

#include "support/fake_embedder.h"
#include "support/temporary_directory.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

class RetrieverTest : public ::testing::Test {
 protected:
  RetrieverTest() {
    std::vector<Document> documents;
    for (int i = 0; i < 30; ++i) {
      Document document;
      document.id = "doc" + std::to_string(i);
      document.title = "Printer guide";
      document.text = "The printer number" + std::to_string(i) + " is offline";
      documents.push_back(document);
    }
    collection_.add(documents);
  }
  [[nodiscard]] SearchResult run(const std::string& query, SearchOptions options = {}) const {
    return search(collection_, query, options);
  }

  testing::TemporaryDirectory directory_;
  Collection collection_ =
      Collection::open(directory_.path(), std::make_shared<const testing::FakeEmbedder>());
};

TEST_F(RetrieverTest, HybridHitsCarryTheRanksAndScoresOfTheirHeads) {
  SearchOptions options;
  options.k = 5;
  const SearchResult result = run("printer number7", options);
  ASSERT_EQ(result.hits.size(), 5u);
  EXPECT_EQ(result.hits[0].chunk.document, "doc7");
  EXPECT_EQ(result.depth, 3);
  for (const Hit& hit : result.hits) {
    double fused = 0;
    for (const auto& [head, rank] : hit.ranks) {
      fused += 1 / (60.0 + static_cast<double>(rank));
      EXPECT_TRUE(hit.scores.contains(head));
    }
    EXPECT_NEAR(hit.score, fused, 1e-6);
  }
  EXPECT_TRUE(std::is_sorted(result.hits.begin(), result.hits.end(),
                             [](const Hit& a, const Hit& b) { return a.score > b.score; }));
  EXPECT_GE(result.timings.total, result.timings.encode);
}

TEST_F(RetrieverTest, OneHeadGivesItsOwnScores) {
  SearchOptions options;
  options.mode = SearchMode::kKeyword;
  const SearchResult keyword = run("number7", options);
  ASSERT_EQ(keyword.hits.size(), 1u);
  EXPECT_EQ(keyword.depth, 0) << "no embedding was needed";
  EXPECT_EQ(keyword.hits[0].score, keyword.hits[0].scores.at("keyword"));
  EXPECT_FALSE(keyword.hits[0].ranks.contains("dense"));
  options.mode = SearchMode::kDense;
  options.depth = "hard";
  const SearchResult dense = run("number7", options);
  EXPECT_EQ(dense.depth, 6);
  EXPECT_EQ(dense.hits.size(), 10u);
  EXPECT_LE(dense.hits[0].score, 1.0001);
}

TEST_F(RetrieverTest, PrefixesOfVectorsAreSearched) {
  SearchOptions options;
  options.mode = SearchMode::kDense;
  options.k = 30;
  for (const std::size_t dim : {1, 8, 31, 32}) {
    options.dim = dim;
    EXPECT_EQ(run("Printer guide The printer number7 is offline", options).hits.size(), 30u);
  }
  options.dim = 16;
  EXPECT_EQ(run("Printer guide The printer number7 is offline", options).hits[0].chunk.document, "doc7");
}

TEST_F(RetrieverTest, OptionsOutOfRangeAreNamed) {
  const auto expect_refused = [&](const std::string& why, const std::function<void(SearchOptions&)>& spoil) {
    SearchOptions options;
    spoil(options);
    try {
      static_cast<void>(run("printer", options));
      FAIL() << "accepted: " << why;
    } catch (const InvalidArgument& error) {
      EXPECT_NE(std::string(error.what()).find(why), std::string::npos) << error.what();
    }
  };
  expect_refused("k is 0", [](SearchOptions& o) { o.k = 0; });
  expect_refused("k is 10001", [](SearchOptions& o) { o.k = 10001; });
  expect_refused("dim is 33", [](SearchOptions& o) { o.dim = 33; });
  expect_refused("rrf_k", [](SearchOptions& o) { o.fusion.rrf_k = -1; });
  const double nan = std::numeric_limits<double>::quiet_NaN();
  expect_refused("rrf_k", [&](SearchOptions& o) { o.fusion.rrf_k = nan; });
  EXPECT_THROW(static_cast<void>(parse_search_mode("fuzzy")), InvalidArgument);
  EXPECT_EQ(parse_search_mode("hybrid"), SearchMode::kHybrid);
}

TEST_F(RetrieverTest, AnyBytesAreAQuery) {
  EXPECT_TRUE(run("").hits.empty());
  EXPECT_TRUE(run(" \t\n").hits.empty());
  EXPECT_TRUE(run(std::string("\0\0", 2)).hits.empty());
  EXPECT_EQ(run(std::string("number7\0offline", 15)).hits[0].chunk.document, "doc7");
  EXPECT_FALSE(run("number7 \xff\xfe\xc3").hits.empty());
  EXPECT_FALSE(run(std::string(1 << 20, 'x') + " number7").hits.empty());
  EXPECT_NO_THROW(static_cast<void>(run("\" OR 1=1; DROP TABLE chunks; -- * NEAR/2 ( AND")));
}

TEST_F(RetrieverTest, AsksForMoreThanThereIs) {
  SearchOptions options;
  options.k = 10000;
  EXPECT_EQ(run("printer", options).hits.size(), 30u);
}

}  // namespace
}  // namespace taesr
