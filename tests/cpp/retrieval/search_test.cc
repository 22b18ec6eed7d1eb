#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>

#include "support/fake_embedder.h"
#include "support/temporary_directory.h"
#include "taesr/errors.h"
#include "taesr/retriever.h"

namespace taesr {
namespace {

/// Remembers how many queries were embedded at which depth.
class CountingEmbedder : public testing::FakeEmbedder {
 public:
  [[nodiscard]] Embeddings embed(std::span<const std::string> texts, Role role,
                                 const std::string& depth) const override {
    if (role == Role::kQuery) calls.emplace_back(depth, texts.size());
    return FakeEmbedder::embed(texts, role, depth);
  }
  mutable std::vector<std::pair<std::string, std::size_t>> calls;
};

/// One document of several sections of several chunks, and many short ones.
class SearchTest : public ::testing::Test {
 protected:
  SearchTest() {
    std::vector<Document> documents;
    Document manual;
    manual.id = "manual";
    for (const std::string section : {"alpha", "beta"}) {
      const std::size_t begin = manual.text.size();
      for (int sentence = 0; sentence < 60; ++sentence) {
        manual.text += "In section " + section + " the sentence number" + std::to_string(sentence) +
                       " speaks of " + section + std::to_string(sentence / 10) + " and of nothing else.\n\n";
      }
      manual.sections.push_back({section, begin, manual.text.size()});
    }
    documents.push_back(manual);
    text_ = manual.text;
    for (int i = 0; i < 40; ++i) {
      Document note;
      note.id = "note" + std::to_string(i);
      note.text = "A printer of kind" + std::to_string(i % 8) + " is offline in room" + std::to_string(i);
      note.metadata = i % 2 == 0 ? R"({"floor": 1})" : R"({"floor": 2})";
      documents.push_back(note);
    }
    collection_.add(documents);
  }
  [[nodiscard]] SearchResult run(const std::string& query, const SearchOptions& options) const {
    return search(collection_, query, options);
  }

  std::string text_;
  testing::TemporaryDirectory directory_;
  std::shared_ptr<CountingEmbedder> embedder_ = std::make_shared<CountingEmbedder>();
  Collection collection_ = Collection::open(directory_.path(), embedder_);
};

TEST_F(SearchTest, ExplanationsAddUp) {
  SearchOptions options;
  options.explain = true;
  for (const FusionMethod method : {FusionMethod::kReciprocalRank, FusionMethod::kWeighted}) {
    options.fusion.method = method;
    options.fusion.weights = {{"dense", 0.6}, {"keyword", 0.4}};
    const SearchResult result = run("printer offline room7 number3", options);
    ASSERT_EQ(result.hits.size(), 10u);
    for (const Hit& hit : result.hits) {
      ASSERT_TRUE(hit.explanation);
      double fused = 0;
      for (const auto& [head, share] : hit.explanation->contributions) fused += share;
      EXPECT_EQ(fused, hit.score) << "to the last bit";
      EXPECT_EQ(hit.explanation->contributions.size(), 2u);
      EXPECT_EQ(hit.explanation->depth, 3);
      float terms = 0;
      for (const TermScore& term : hit.explanation->terms) terms += term.score;
      if (hit.scores.contains("keyword")) {
        EXPECT_EQ(terms, static_cast<float>(hit.scores.at("keyword")));
      }
      EXPECT_FALSE(hit.explanation->redundancy);
    }
  }
  const SearchResult plain = run("printer", {});
  EXPECT_FALSE(plain.hits[0].explanation);
}

TEST_F(SearchTest, KeywordTermsAreThoseOfTheQueryAndTheChunk) {
  SearchOptions options;
  options.explain = true;
  options.mode = SearchMode::kKeyword;
  const SearchResult result = run("the printers, printers in room7!", options);
  const auto& terms = result.hits[0].explanation->terms;
  ASSERT_EQ(terms.size(), 2u);
  EXPECT_EQ(terms[0].term, "printer");
  EXPECT_EQ(terms[1].term, "room7");
  EXPECT_GT(terms[1].score, terms[0].score) << "rarer";
  EXPECT_EQ(result.hits[0].explanation->contributions.at("keyword"), result.hits[0].score);
}

TEST_F(SearchTest, WeightedFusionScoresEveryCandidateByEveryHead) {
  SearchOptions options;
  options.candidates = 10;
  options.fusion = {FusionMethod::kWeighted, 60, {{"dense", 0.5}, {"keyword", 0.5}}};
  const std::string query = "kind3 printer in room11";
  const SearchResult result = run(query, options);
  const std::vector<Candidate> dense = collection_.search_dense(
      embedder_->embed(std::span(&query, 1), Role::kQuery, "auto").vectors.row(0), 1000);
  const std::vector<Candidate> keyword = collection_.search_keyword(query, 1000);
  for (const Hit& hit : result.hits) {
    const auto score_in = [&](const std::vector<Candidate>& list) {
      const auto found = std::ranges::find(list, hit.chunk.id, &Candidate::chunk);
      return found == list.end() ? 0 : found->score;
    };
    EXPECT_NEAR(hit.scores.at("dense"), score_in(dense), 1e-5);
    EXPECT_NEAR(hit.scores.at("keyword"), score_in(keyword), 1e-5);
  }
  EXPECT_EQ(result.hits[0].chunk.document, "note11");
}

TEST_F(SearchTest, DiversityPutsOtherKindsBeforeMoreOfTheSame) {
  SearchOptions options;
  options.mode = SearchMode::kDense;
  options.k = 6;
  options.explain = true;
  const auto kinds = [&](const SearchResult& result) {
    std::set<std::string> seen;
    for (const Hit& hit : result.hits) {
      const std::string& text = hit.chunk.chunk.text;
      const auto kind = text.find("kind");
      seen.insert(kind == std::string::npos ? "" : text.substr(kind, 5));
    }
    return seen.size();
  };
  const SearchResult plain = run("A printer of kind3 is offline", options);
  options.mmr = 0.3;
  const SearchResult diverse = run("A printer of kind3 is offline", options);
  EXPECT_EQ(plain.hits[0].chunk.id, diverse.hits[0].chunk.id) << "the best comes first";
  EXPECT_GT(kinds(diverse), kinds(plain));
  EXPECT_EQ(diverse.hits[0].explanation->redundancy, 0);
  EXPECT_GT(*diverse.hits[1].explanation->redundancy, 0);
  options.mmr = 1.0;
  const SearchResult relevance = run("A printer of kind3 is offline", options);
  for (std::size_t i = 0; i < 6; ++i) EXPECT_EQ(relevance.hits[i].chunk.id, plain.hits[i].chunk.id);
}

TEST_F(SearchTest, NeighboursAreJoinedWithoutRepetition) {
  SearchOptions options;
  options.mode = SearchMode::kKeyword;
  options.k = 5;
  const SearchResult plain = run("alpha3 number35", options);
  const Chunk hit = plain.hits[0].chunk.chunk;
  EXPECT_TRUE(plain.hits[0].joined.empty());
  options.expand = 1;
  const SearchResult joined = run("alpha3 number35", options);
  const Chunk& passage = joined.hits[0].chunk.chunk;
  EXPECT_GT(joined.hits[0].joined.size(), 1u);
  EXPECT_LT(passage.begin, hit.begin);
  EXPECT_GE(passage.end, hit.end);
  EXPECT_EQ(passage.section, "alpha");
  EXPECT_GT(passage.tokens, hit.tokens);
  std::set<std::int64_t> seen;
  for (const Hit& each : joined.hits) {
    const Chunk& chunk = each.chunk.chunk;
    EXPECT_EQ(chunk.end - chunk.begin, chunk.text.size());
    if (each.chunk.document == "manual") {
      EXPECT_EQ(chunk.text, text_.substr(chunk.begin, chunk.end - chunk.begin));
    }
    for (const std::int64_t id : each.joined) EXPECT_TRUE(seen.insert(id).second) << "in two passages";
  }
}

TEST_F(SearchTest, JoinedPassagesStayInTheirSection) {
  SearchOptions options;
  options.mode = SearchMode::kKeyword;
  options.expand = 100;
  const SearchResult result = run("alpha beta number3", options);
  std::vector<std::pair<std::size_t, std::size_t>> spans;
  for (const Hit& hit : result.hits) {
    if (hit.chunk.document != "manual") continue;
    spans.emplace_back(hit.chunk.chunk.begin, hit.chunk.chunk.end);
    const std::string other = hit.chunk.chunk.section == "alpha" ? "beta" : "alpha";
    EXPECT_EQ(hit.chunk.chunk.text.find(other), std::string::npos);
  }
  EXPECT_EQ(spans.size(), 2u) << "each section is one passage";
}

TEST_F(SearchTest, BatchesGiveWhatSingleSearchesGive) {
  std::vector<std::string> queries;
  std::vector<SearchOptions> options;
  for (int i = 0; i < 50; ++i) {
    const std::string number = std::to_string(i);
    queries.push_back(i % 10 == 9 ? " " : "printer in room" + number + " kind" + std::to_string(i % 8));
    SearchOptions each;
    each.k = 1 + static_cast<std::size_t>(i % 7);
    each.mode = static_cast<SearchMode>(i % 3);
    each.depth = i % 2 == 0 ? "hard" : "auto";
    if (i % 5 == 0) each.filter = {{"floor", "2"}};
    if (i % 4 == 0) each.mmr = 0.5;
    if (i % 6 == 0) each.expand = 1;
    options.push_back(each);
  }
  const std::vector<SearchResult> batch = search_batch(collection_, queries, options);
  EXPECT_LE(embedder_->calls.size(), 2u) << "one call a depth";
  ASSERT_EQ(batch.size(), queries.size());
  for (std::size_t i = 0; i < queries.size(); ++i) {
    const SearchResult single = run(queries[i], options[i]);
    ASSERT_EQ(single.hits.size(), batch[i].hits.size());
    EXPECT_EQ(single.depth, batch[i].depth);
    for (std::size_t h = 0; h < single.hits.size(); ++h) {
      EXPECT_EQ(single.hits[h].chunk.id, batch[i].hits[h].chunk.id);
      EXPECT_EQ(single.hits[h].score, batch[i].hits[h].score);
      EXPECT_EQ(single.hits[h].scores, batch[i].hits[h].scores);
    }
    if (i % 10 == 9) {
      EXPECT_TRUE(single.hits.empty());
    }
    if (i % 5 == 0) {
      for (const Hit& hit : single.hits) EXPECT_EQ(hit.chunk.metadata, R"({"floor": 2})");
    }
  }
  EXPECT_TRUE(search_batch(collection_, {}, std::vector<SearchOptions>(1)).empty());
  EXPECT_THROW(static_cast<void>(search_batch(collection_, queries, std::vector<SearchOptions>(2))),
               InvalidArgument);
}

TEST_F(SearchTest, EffortEmbedsAgainWhereTheMarginIsThin) {
  std::vector<std::string> queries;
  for (int i = 0; i < 60; ++i) {
    queries.push_back("room" + std::to_string(i % 45) + " kind" + std::to_string(i % 9) + " alpha");
  }
  SearchOptions options;
  options.mode = SearchMode::kDense;
  std::size_t previous = 0;
  for (const double effort : {0.0, 0.3, 0.6, 1.0}) {
    options.effort = effort;
    embedder_->calls.clear();
    const std::vector<SearchResult> results = search_batch(collection_, queries, std::span(&options, 1));
    const auto hard = static_cast<std::size_t>(
        std::ranges::count_if(results, [](const SearchResult& result) { return result.depth == 6; }));
    EXPECT_GE(hard, previous);
    if (effort == 0.0) {
      EXPECT_EQ(hard, 0u);
    }
    if (effort == 1.0) {
      EXPECT_EQ(hard, queries.size());
    }
    if (effort == 1.0) {
      EXPECT_EQ(embedder_->calls.size(), 1u) << "straight to the deepest";
    }
    if (effort < 1.0) {
      EXPECT_EQ(embedder_->calls[0].first, "easy");
      EXPECT_EQ(embedder_->calls[0].second, queries.size());
    }
    if (hard > 0 && effort < 1.0) {
      EXPECT_EQ(embedder_->calls[1].second, hard);
    }
    for (const SearchResult& result : results) EXPECT_EQ(result.hits.size(), 10u);
    previous = hard;
  }
}

TEST_F(SearchTest, OptionsOutOfRangeAreNamed) {
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
  const double nan = std::nan("");
  expect_refused("mmr is 1.5", [](SearchOptions& o) { o.mmr = 1.5; });
  expect_refused("mmr is nan", [&](SearchOptions& o) { o.mmr = nan; });
  expect_refused("effort is -0.1", [](SearchOptions& o) { o.effort = -0.1; });
  expect_refused("effort chooses the depth", [](SearchOptions& o) { o.effort = 0.5, o.depth = "hard"; });
  expect_refused("expand is 101", [](SearchOptions& o) { o.expand = 101; });
  expect_refused("no weight for head", [](SearchOptions& o) { o.fusion.method = FusionMethod::kWeighted; });
}

TEST_F(SearchTest, ChunksThatAreGoneHaveNoVectorAndNoTerms) {
  const std::vector<std::int64_t> ids = {1, 1000000, -5};
  const Embeddings found = collection_.embeddings(ids);
  EXPECT_EQ(found.depths, (std::vector<int>{3, 0, 0}));
  double squares = 0;
  for (const float value : found.vectors.row(0)) squares += double{value} * value;
  EXPECT_NEAR(squares, 1, 1e-5);
  for (const float value : found.vectors.row(1)) EXPECT_EQ(value, 0);
  const auto terms = collection_.keyword_terms("section sentence", ids);
  EXPECT_FALSE(terms[0].empty());
  EXPECT_TRUE(terms[1].empty());
  EXPECT_TRUE(terms[2].empty());
}

}  // namespace
}  // namespace taesr
