#include "index/impact_index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <random>

#include "index/bm25.h"
#include "index/keyword_index.h"
#include "index/top_k.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

using Texts = std::vector<SparseVector>;

std::int64_t id_of(std::size_t row) { return static_cast<std::int64_t>(2 * row + 5); }

/// Texts over `pieces` pieces, few of which are frequent, as those of a language are.
Texts random_texts(std::mt19937& random, std::size_t count, int pieces, std::size_t most) {
  std::gamma_distribution<float> weights(2, 0.5F);
  std::uniform_real_distribution<double> uniform;
  Texts texts(count);
  for (SparseVector& text : texts) {
    std::map<int, float> drawn;
    for (std::size_t i = 0; i < most; ++i) {
      const int piece = static_cast<int>(pieces * std::pow(uniform(random), 3));
      drawn[piece] = weights(random) + 0.001F;
    }
    for (const auto& [piece, weight] : drawn) text.push_back({piece, weight});
  }
  return texts;
}

ImpactIndex make_index(const Texts& texts, std::uint32_t bits = 8) {
  ImpactBuilder builder;
  for (std::size_t i = 0; i < texts.size(); ++i) builder.append(id_of(i), texts[i]);
  return builder.build(bits);
}

/// Scores of all texts with weights quantised as the index promises, best first.
std::vector<Candidate> brute_force(const Texts& texts, const SparseVector& query, double most) {
  std::map<int, float> largest;
  for (const SparseVector& text : texts) {
    for (const PieceWeight& entry : text) largest[entry.piece] = std::max(largest[entry.piece], entry.weight);
  }
  std::vector<Candidate> all;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    float score = 0;
    for (const PieceWeight& asked : query) {
      const auto found = std::find_if(texts[i].begin(), texts[i].end(),
                                      [&](const PieceWeight& entry) { return entry.piece == asked.piece; });
      if (found == texts[i].end()) continue;
      const double whole = largest[asked.piece];
      const double level = std::clamp(std::nearbyint(found->weight / whole * most), 1.0, most);
      score += asked.weight * static_cast<float>(whole / most) * static_cast<float>(level);
    }
    if (score > 0) all.push_back({id_of(i), score});
  }
  std::sort(all.begin(), all.end(), ranks_before);
  return all;
}

void expect_equal(const std::vector<Candidate>& actual, std::vector<Candidate> expected, std::size_t k) {
  if (expected.size() > k) expected.resize(k);
  ASSERT_EQ(actual.size(), expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i) {
    EXPECT_EQ(actual[i].chunk, expected[i].chunk) << "rank " << i;
    EXPECT_EQ(actual[i].score, expected[i].score) << "rank " << i;
  }
}

TEST(ImpactIndex, FindsToTheBitWhatScoringEverythingFinds) {
  std::mt19937 random(1);
  for (const std::uint32_t bits : {8u, 16u}) {
    const Texts texts = random_texts(random, 3000, 500, 20);
    const ImpactIndex index = make_index(texts, bits);
    for (const SparseVector& query : random_texts(random, 40, 550, 12)) {
      const auto expected = brute_force(texts, query, bits == 8 ? 255 : 65535);
      for (const std::size_t k : {1, 10, 100, 5000}) expect_equal(index.search(query, k), expected, k);
    }
  }
}

TEST(ImpactIndex, EqualScoresComeByIdWhereverThePruningCuts) {
  std::mt19937 random(2);
  Texts texts = random_texts(random, 50, 8, 3);
  for (SparseVector& text : texts) {
    for (PieceWeight& entry : text) entry.weight = 1;
  }
  const std::size_t distinct = texts.size();
  for (std::size_t i = 0; i < 2000; ++i) texts.push_back(texts[random() % distinct]);
  const ImpactIndex index = make_index(texts);
  for (const SparseVector& query : random_texts(random, 20, 8, 3)) {
    const auto expected = brute_force(texts, query, 255);
    for (const std::size_t k : {1, 7, 64, 700}) expect_equal(index.search(query, k), expected, k);
  }
}

TEST(ImpactIndex, PruningChangesNothing) {
  std::mt19937 random(3);
  const ImpactIndex index = make_index(random_texts(random, 20000, 3000, 40));
  for (const SparseVector& query : random_texts(random, 50, 3000, 20)) {
    expect_equal(index.search(query, 10), index.search_all(query, 10), 10);
  }
}

TEST(ImpactIndex, AFilterAndDeletionsLeaveOutWhatTheySay) {
  std::mt19937 random(4);
  const Texts texts = random_texts(random, 2000, 200, 15);
  ImpactIndex index = make_index(texts);
  IdList removed;
  IdList allowed = {1, 4};  // neither is in the index
  for (std::size_t i = 0; i < texts.size(); ++i) {
    if (i % 3 == 0) removed.push_back(id_of(i));
    if (i % 7 == 1) allowed.push_back(id_of(i));
  }
  index.remove(removed);
  index.remove(removed);  // again: nothing more
  index.remove({2, 1000000});
  EXPECT_EQ(index.size(), texts.size() - removed.size());
  EXPECT_EQ(index.live_ids().size(), index.size());
  const auto bitmap = index.bitmap_of(allowed);
  for (const SparseVector& query : random_texts(random, 20, 200, 8)) {
    auto expected = brute_force(texts, query, 255);
    std::erase_if(expected, [&](const Candidate& c) { return std::binary_search(removed.begin(), removed.end(), c.chunk); });
    expect_equal(index.search(query, 10), expected, 10);
    std::erase_if(expected,
                  [&](const Candidate& c) { return !std::binary_search(allowed.begin(), allowed.end(), c.chunk); });
    expect_equal(index.search(query, 10, &bitmap), expected, 10);
  }
}

TEST(ImpactIndex, NothingIsFoundInNothing) {
  const ImpactIndex empty = ImpactBuilder().build();
  EXPECT_TRUE(empty.search({{3, 1.0F}}, 5).empty());
  EXPECT_EQ(empty.last_id(), 0);
  ImpactIndex index = make_index({{{1, 2.0F}}, {}});
  EXPECT_TRUE(index.search({}, 5).empty());
  EXPECT_TRUE(index.search({{2, 1.0F}}, 5).empty());
  EXPECT_TRUE(index.search({{1, 1.0F}}, 0).empty());
  EXPECT_EQ(index.search({{1, 1.0F}}, std::numeric_limits<std::size_t>::max()).size(), 1U);
  index.remove({id_of(0), id_of(1)});
  EXPECT_TRUE(index.search({{1, 1.0F}}, 5).empty());
}

TEST(ImpactIndex, VectorsThatAreNoneAreRefused) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const SparseVector& bad : Texts{{{-1, 1}}, {{2, 1}, {2, 1}}, {{2, 1}, {1, 1}}, {{1, 0}}, {{1, -1}}, {{1, nan}}}) {
    ImpactBuilder builder;
    EXPECT_THROW(builder.append(1, bad), InvalidArgument);
  }
  const ImpactIndex index = make_index({{{1, 2.0F}}});
  EXPECT_THROW((void)index.search({{1, nan}}, 1), InvalidArgument);
  EXPECT_THROW((void)index.search({{1, -2}}, 1), InvalidArgument);
  EXPECT_THROW((void)ImpactBuilder().build(4), InvalidArgument);
}

IndexFile file_of(const std::vector<IndexSection>& sections) {
  std::string bytes = encode_index_header({IndexKind::kImpact, "model", {1, 1}}, sections);
  for (const IndexSection& section : sections) bytes += section.bytes;
  return IndexFile(std::move(bytes), "impact.idx");
}

TEST(ImpactIndex, ASavedIndexComesBackAsItWas) {
  std::mt19937 random(5);
  const Texts texts = random_texts(random, 1000, 300, 12);
  for (const std::uint32_t bits : {8u, 16u}) {
    ImpactIndex index = make_index(texts, bits);
    index.remove({id_of(3), id_of(700)});
    const ImpactIndex again = ImpactIndex::load(file_of(index.save()));
    EXPECT_EQ(again.live_ids(), index.live_ids());
    EXPECT_EQ(again.last_id(), index.last_id());
    EXPECT_EQ(again.bytes(), index.bytes());
    for (const SparseVector& query : random_texts(random, 10, 300, 8)) {
      expect_equal(again.search(query, 20), index.search(query, 20), 20);
    }
  }
}

TEST(ImpactIndex, DamageUnderRightChecksumsIsRefusedOrCanBeSearched) {
  std::mt19937 random(6);
  const auto original = make_index(random_texts(random, 300, 60, 10)).save();
  std::size_t accepted = 0;
  std::size_t refused = 0;
  for (int round = 0; round < 4000; ++round) {
    auto sections = original;
    std::string& bytes = sections[random() % sections.size()].bytes;
    for (std::size_t i = 0; i <= random() % 2; ++i) bytes[random() % bytes.size()] = static_cast<char>(random());
    if (round % 8 == 0) bytes.resize(random() % bytes.size());
    try {
      const ImpactIndex index = ImpactIndex::load(file_of(sections));
      const auto bitmap = index.bitmap_of({5, 7, 9});
      for (const Candidate& hit : index.search({{0, 1.0F}, {1, 0.5F}, {7, 2.0F}, {30, 1.0F}}, 10)) {
        EXPECT_TRUE(std::isfinite(hit.score) || hit.score > 0);
      }
      (void)index.search({{0, 1.0F}}, 10, &bitmap);
      ++accepted;
    } catch (const FormatError&) {
      ++refused;
    }
  }
  EXPECT_GT(accepted, 0U);
  EXPECT_GT(refused, 0U);
}

TEST(ImpactIndex, RanksBm25AsTheKeywordIndexDoes) {
  std::mt19937 random(7);
  KeywordIndex keywords;
  Texts counts;
  for (std::size_t i = 0; i < 1500; ++i) {
    std::map<int, float> terms;
    std::string text;
    for (std::size_t j = 0; j < 5 + random() % 40; ++j) {
      const int term = static_cast<int>(100 * std::pow(static_cast<double>(random()) / 4294967296.0, 3));
      ++terms[term];
      text += "w" + std::to_string(term) + "x ";
    }
    keywords.append(id_of(i), text);
    counts.emplace_back();
    for (const auto& [term, count] : terms) counts.back().push_back({term, count});
  }
  const ImpactIndex index = make_index(bm25_weights(counts), 16);
  for (int round = 0; round < 30; ++round) {
    std::map<int, float> terms;
    std::string text;
    for (int j = 0; j < 4; ++j) {
      const int term = static_cast<int>(random() % 100);
      ++terms[term];
      text += "w" + std::to_string(term) + "x ";
    }
    SparseVector query;
    for (const auto& [term, count] : terms) query.push_back({term, count});
    const auto expected = keywords.search(text, 20);
    const auto actual = index.search(query, 20);
    ASSERT_EQ(actual.size(), expected.size());
    for (std::size_t i = 0; i < actual.size(); ++i) EXPECT_NEAR(actual[i].score, expected[i].score, 1e-4);
  }
}

TEST(Bm25, OptionsAndCountsOutOfRangeAreRefused) {
  EXPECT_THROW((void)bm25_weights({}, {.k1 = -1}), InvalidArgument);
  EXPECT_THROW((void)bm25_weights({}, {.b = 1.5}), InvalidArgument);
  EXPECT_THROW((void)bm25_weights({{{1, 0}}}), InvalidArgument);
  EXPECT_TRUE(bm25_weights({}).empty());
}

}  // namespace
}  // namespace taesr
