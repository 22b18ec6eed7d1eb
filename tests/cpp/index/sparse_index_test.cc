#include "index/sparse_index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>

#include "index/sparse_codec.h"
#include "index/top_k.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

SparseVector random_text(std::mt19937& random, int pieces, std::size_t most) {
  std::uniform_real_distribution<double> uniform;
  std::map<int, float> drawn;
  for (std::size_t i = 0; i < most; ++i) {
    const int piece = static_cast<int>(pieces * std::pow(uniform(random), 3));
    drawn[piece] = static_cast<float>(uniform(random)) + 0.01F;
  }
  SparseVector text;
  for (const auto& [piece, weight] : drawn) text.push_back({piece, weight});
  return text;
}

IndexFile file_of(const std::vector<IndexSection>& sections) {
  std::string bytes = encode_index_header({IndexKind::kImpact, "model", {1, 1}}, sections);
  for (const IndexSection& section : sections) bytes += section.bytes;
  return IndexFile(std::move(bytes), "sparse.idx");
}

TEST(SparseCodec, GivesBackPiecesExactlyAndWeightsToHalfPrecision) {
  std::mt19937 random(1);
  for (int trial = 0; trial < 200; ++trial) {
    const int pieces = trial % 2 == 0 ? 200 : 2000000000;
    const SparseVector text = random_text(random, pieces, static_cast<std::size_t>(trial));
    const SparseVector back = decode_sparse(encode_sparse(text), "text");
    ASSERT_EQ(back.size(), text.size());
    for (std::size_t i = 0; i < text.size(); ++i) {
      EXPECT_EQ(back[i].piece, text[i].piece);
      EXPECT_NEAR(back[i].weight, text[i].weight, text[i].weight * 0x1p-11);
    }
  }
}

TEST(SparseCodec, WeightsBeyondHalfPrecisionAreBoundedOrLeftOut) {
  const SparseVector back = decode_sparse(encode_sparse({{0, 1e9F}, {7, 1e-9F}, {9, 1.0F}}), "text");
  EXPECT_EQ(back, (SparseVector{{0, 65504.0F}, {9, 1.0F}}));
}

TEST(SparseCodec, RefusesVectorsAgainstTheRules) {
  const SparseVector all_bad[] = {{{3, 1.0F}, {3, 1.0F}}, {{-1, 1.0F}}, {{1, 0.0F}}, {{1, -1.0F}},
                                  {{1, NAN}}, {{1, INFINITY}}};
  for (const SparseVector& bad : all_bad) {
    EXPECT_THROW((void)encode_sparse(bad), InvalidArgument);
  }
}

TEST(SparseCodec, DamagedBytesAreRefusedOrAreAVectorByTheRules) {
  std::mt19937 random(2);
  const std::vector<std::byte> good = encode_sparse(random_text(random, 30000, 60));
  std::size_t refused = 0;
  for (int trial = 0; trial < 5000; ++trial) {
    std::vector<std::byte> bytes = good;
    bytes[random() % bytes.size()] = static_cast<std::byte>(random());
    if (trial % 3 == 0) bytes.resize(random() % bytes.size());
    try {
      check_sparse(decode_sparse(bytes, "text"), "decoded");
    } catch (const FormatError&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 1500u);
}

TEST(SparseIndex, FindsTheSameWhetherTextsAreRecentOrNot) {
  std::mt19937 random(3);
  std::map<std::int64_t, SparseVector> texts;
  SparseIndex index;
  for (std::int64_t id = 1; id <= 4000; ++id) {
    texts[id] = decode_sparse(encode_sparse(random_text(random, 500, 20)), "as rows give it");
    index.append(id, texts[id]);
    if (id == 2500) index.build();
  }
  IdList gone;
  for (std::int64_t id = 3; id <= 4000; id += 5) gone.push_back(id);
  index.remove(gone);
  for (const std::int64_t id : gone) texts.erase(id);
  EXPECT_EQ(index.size(), texts.size());
  const SparseIndex loaded = SparseIndex::load(file_of(index.save()));
  EXPECT_EQ(loaded.live_ids(), index.live_ids());
  EXPECT_EQ(loaded.last_id(), 4000);
  IdList allowed;
  for (std::int64_t id = 0; id < 5000; id += 7) allowed.push_back(id);
  for (int trial = 0; trial < 30; ++trial) {
    const SparseVector query = random_text(random, 500, 8);
    for (const IdList* among : {static_cast<const IdList*>(nullptr), static_cast<const IdList*>(&allowed)}) {
      std::map<std::int64_t, float> expected;
      for (const auto& [id, text] : texts) {
        const bool counts = among == nullptr || std::ranges::binary_search(*among, id);
        if (const float score = dot(query, text); counts && score > 0) expected[id] = score;
      }
      const auto found = loaded.search(query, 10000, among);
      ASSERT_EQ(found.size(), expected.size());
      for (const Candidate& candidate : found) {
        const float exact = expected.at(candidate.chunk);
        EXPECT_NEAR(candidate.score, exact, 1e-3 * exact + 1e-4);
      }
      EXPECT_TRUE(std::ranges::is_sorted(found, ranks_before));
      const auto best = index.search(query, 10, among);
      for (std::size_t i = 0; i < best.size(); ++i) EXPECT_EQ(best[i].chunk, found[i].chunk);
    }
  }
}

TEST(SparseIndex, AsksForARebuildOnceATenthIsNewOrAThirdIsGone) {
  std::mt19937 random(4);
  SparseIndex index;
  for (std::int64_t id = 1; id <= 1024; ++id) index.append(id, random_text(random, 100, 5));
  EXPECT_FALSE(index.needs_rebuild()) << "so few are scored one by one";
  index.append(1025, random_text(random, 100, 5));
  EXPECT_TRUE(index.needs_rebuild());
  index.build();
  EXPECT_FALSE(index.needs_rebuild());
  IdList gone;
  for (std::int64_t id = 1; id <= 300; ++id) gone.push_back(id);
  index.remove(gone);
  EXPECT_FALSE(index.needs_rebuild());
  index.remove({301, 302, 303, 304, 305, 306, 307, 308});
  EXPECT_TRUE(index.needs_rebuild());
}

TEST(SparseIndex, QueriesAgainstTheRulesAndEmptyOnes) {
  SparseIndex index;
  EXPECT_TRUE(index.search({{1, 1.0F}}, 5).empty());
  index.append(1, {{1, 1.0F}});
  EXPECT_TRUE(index.search({}, 5).empty());
  EXPECT_TRUE(index.search({{1, 1.0F}}, 0).empty());
  EXPECT_THROW((void)index.search({{1, NAN}}, 5), InvalidArgument);
  EXPECT_THROW(index.append(2, {{5, 1.0F}, {4, 1.0F}}), InvalidArgument);
}

TEST(SparseIndex, DamagedFilesAreRefusedOrStillAnswer) {
  std::mt19937 random(5);
  SparseIndex index;
  for (std::int64_t id = 1; id <= 200; ++id) {
    index.append(id, random_text(random, 100, 8));
    if (id == 120) index.build();
  }
  const std::vector<IndexSection> good = index.save();
  std::size_t refused = 0;
  for (int trial = 0; trial < 2000; ++trial) {
    std::vector<IndexSection> sections = good;
    std::string& bytes = sections[random() % sections.size()].bytes;
    bytes[random() % bytes.size()] = static_cast<char>(random());
    if (trial % 4 == 0) bytes.resize(random() % bytes.size());
    try {
      const SparseIndex loaded = SparseIndex::load(file_of(sections));
      for (const Candidate& found : loaded.search({{1, 1.0F}, {5, 2.0F}}, 10)) EXPECT_GT(found.chunk, 0);
    } catch (const FormatError&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 500u);
}

}  // namespace
}  // namespace taesr
