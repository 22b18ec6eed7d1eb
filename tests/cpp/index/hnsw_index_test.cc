#include "index/hnsw_index.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <set>

#include "index/top_k.h"
#include "support/temporary_directory.h"
#include "support/vectors.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

using Vectors = std::vector<std::vector<float>>;

std::int64_t id_of(std::size_t row) { return static_cast<std::int64_t>(3 * row + 1); }

HnswIndex make_index(const Vectors& vectors, std::size_t dimension) {
  HnswIndex index(dimension);
  for (std::size_t i = 0; i < vectors.size(); ++i) index.append(id_of(i), vectors[i]);
  index.link();
  return index;
}

/// Cosines of prefixes in double precision, sorted.
std::vector<Candidate> reference_search(const Vectors& vectors, const std::vector<float>& query,
                                        std::size_t k, const std::set<std::int64_t>& left_out = {}) {
  std::vector<Candidate> all;
  for (std::size_t i = 0; i < vectors.size(); ++i) {
    if (left_out.contains(id_of(i))) continue;
    double product = 0;
    double squares = 0;
    double query_squares = 0;
    for (std::size_t j = 0; j < query.size(); ++j) {
      product += double{vectors[i][j]} * query[j];
      squares += double{vectors[i][j]} * vectors[i][j];
      query_squares += double{query[j]} * query[j];
    }
    all.push_back({id_of(i), static_cast<float>(product / std::sqrt(squares * query_squares))});
  }
  std::sort(all.begin(), all.end(), ranks_before);
  if (all.size() > k) all.resize(k);
  return all;
}

std::size_t overlap(const std::vector<Candidate>& a, const std::vector<Candidate>& b) {
  std::set<std::int64_t> ids;
  for (const Candidate& candidate : a) ids.insert(candidate.chunk);
  return static_cast<std::size_t>(
      std::count_if(b.begin(), b.end(), [&](const Candidate& c) { return ids.contains(c.chunk); }));
}

void expect_same(const std::vector<Candidate>& actual, const std::vector<Candidate>& expected) {
  ASSERT_EQ(actual.size(), expected.size());
  EXPECT_GE(overlap(actual, expected) + 1, expected.size());  // the last may tie with the one after
  for (std::size_t i = 0; i < actual.size(); ++i) EXPECT_NEAR(actual[i].score, expected[i].score, 1e-5);
}

void expect_equal(const std::vector<Candidate>& a, const std::vector<Candidate>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT_EQ(a[i].chunk, b[i].chunk);
}

TEST(HnswIndex, RecallsWhatAnExactSearchFinds) {
  std::mt19937 random(11);
  const Vectors vectors = testing::clustered_vectors(random, 5000, 48, 60);
  const HnswIndex index = make_index(vectors, 48);
  for (const std::size_t k : {1, 10, 100}) {
    std::size_t found = 0;
    for (int i = 0; i < 100; ++i) {
      std::vector<float> query = vectors[random() % vectors.size()];
      for (float& value : query) value += 0.05f * std::normal_distribution<float>()(random);
      testing::normalise(query);
      const auto hits = index.search(query, k);
      ASSERT_EQ(hits.size(), k);
      EXPECT_TRUE(std::is_sorted(hits.begin(), hits.end(), ranks_before));
      found += overlap(hits, reference_search(vectors, query, k));
    }
    EXPECT_GE(static_cast<double>(found) / (100.0 * static_cast<double>(k)), 0.95) << "k=" << k;
  }
}

TEST(HnswIndex, RecallHoldsAfterHalfOfTheRowsWereReplaced) {
  std::mt19937 random(12);
  Vectors vectors = testing::clustered_vectors(random, 4000, 24, 40);
  HnswIndex index = make_index(vectors, 24);
  std::set<std::int64_t> gone;
  for (int round = 0; round < 5; ++round) {
    IdList removed;
    while (removed.size() < 400) {
      const std::int64_t id = id_of(random() % vectors.size());
      if (gone.insert(id).second) removed.push_back(id);
    }
    std::sort(removed.begin(), removed.end());
    index.remove(removed);
    for (auto& vector : testing::clustered_vectors(random, 400, 24, 40)) {
      index.append(id_of(vectors.size()), vector);
      vectors.push_back(std::move(vector));
    }
    index.link();
    if (index.needs_compaction()) index = index.compacted();
  }
  ASSERT_EQ(index.size(), vectors.size() - gone.size());
  std::size_t found = 0;
  for (int i = 0; i < 100; ++i) {
    const auto query = testing::random_unit_vector(random, 24);
    const auto hits = index.search(query, 10);
    for (const Candidate& hit : hits) EXPECT_FALSE(gone.contains(hit.chunk));
    found += overlap(hits, reference_search(vectors, query, 10, gone));
  }
  EXPECT_GE(found, 950u);
}

TEST(HnswIndex, ReturnsAsManyAsThereAreForEveryKAndEveryShareOfDeletions) {
  std::mt19937 random(13);
  for (const std::size_t n : {std::size_t{1}, std::size_t{50}, HnswIndex::kExactBelow + 300}) {
    const Vectors vectors = testing::clustered_vectors(random, n, 8, 5);
    const auto query = testing::random_unit_vector(random, 8);
    for (const double share : {0.0, 0.1, 0.29, 0.5, 0.9, 1.0}) {
      HnswIndex index = make_index(vectors, 8);
      const auto deleted = static_cast<std::size_t>(share * static_cast<double>(n));
      IdList gone;
      for (std::size_t i = 0; i < deleted; ++i) gone.push_back(id_of(i));
      index.remove(gone);
      for (const bool compact : {false, true}) {
        if (compact) index = index.compacted();
        for (const std::size_t k : {std::size_t{0}, std::size_t{1}, n / 20, n, n + 1, 10 * n}) {
          EXPECT_EQ(index.search(query, k).size(), std::min(k, n - deleted)) << n << " " << share << " " << k;
        }
      }
    }
  }
}

TEST(HnswIndex, SmallIndexesAreExact) {
  std::mt19937 random(14);
  const Vectors vectors = testing::clustered_vectors(random, 500, 20, 10);
  const HnswIndex index = make_index(vectors, 20);
  for (int i = 0; i < 20; ++i) {
    const auto query = testing::random_unit_vector(random, 20);
    expect_same(index.search(query, 15), reference_search(vectors, query, 15));
  }
}

TEST(HnswIndex, PrefixesAreComparedExactlyAndRenormalised) {
  std::mt19937 random(15);
  const Vectors vectors = testing::clustered_vectors(random, 3000, 32, 10);
  const HnswIndex index = make_index(vectors, 32);
  for (const std::size_t length : {1, 2, 7, 16, 31}) {
    auto query = testing::random_unit_vector(random, 32);
    query.resize(length);
    testing::normalise(query);
    const auto hits = index.search(query, 10);
    const auto expected = reference_search(vectors, query, 10);
    ASSERT_EQ(hits.size(), expected.size());
    for (std::size_t i = 0; i < hits.size(); ++i)
      EXPECT_NEAR(hits[i].score, expected[i].score, 2e-5) << length;
  }
}

TEST(HnswIndex, KeepsToTheAllowedIds) {
  std::mt19937 random(16);
  const Vectors vectors = testing::clustered_vectors(random, 6000, 16, 20);
  const HnswIndex index = make_index(vectors, 16);
  for (const std::size_t every : {2, 7, 100, 3000}) {
    IdList allowed;
    std::set<std::int64_t> left_out;
    for (std::size_t i = 0; i < vectors.size(); ++i) {
      if (i % every == 0) {
        allowed.push_back(id_of(i));
      } else {
        left_out.insert(id_of(i));
      }
    }
    allowed.push_back(1 << 30);  // unknown
    const HnswIndex::Filter filter = index.prepare(allowed);
    std::size_t found = 0;
    std::size_t wanted = 0;
    for (int i = 0; i < 50; ++i) {
      const auto query = testing::random_unit_vector(random, 16);
      const auto hits = index.search(query, 10, &allowed);
      const auto expected = reference_search(vectors, query, 10, left_out);
      expect_equal(index.search(query, 10, filter), hits);
      ASSERT_EQ(hits.size(), expected.size());
      for (const Candidate& hit : hits) EXPECT_FALSE(left_out.contains(hit.chunk));
      found += overlap(hits, expected);
      wanted += expected.size();
    }
    EXPECT_GE(static_cast<double>(found), 0.95 * static_cast<double>(wanted)) << "every " << every;
  }
}

TEST(HnswIndex, FindsWhatIsAllowedWhetherNearTheQueryOrFarFromIt) {
  std::mt19937 random(28);
  const Vectors vectors = testing::clustered_vectors(random, 15000, 24, 50);
  HnswIndex index(24, {.graph = {.links = 8, .construction_width = 60, .search_width = 24}});
  for (std::size_t i = 0; i < vectors.size(); ++i) index.append(id_of(i), vectors[i]);
  index.link();
  for (const bool far : {false, true}) {
    std::size_t found = 0;
    std::size_t found_of_all = 0;
    for (int round = 0; round < 20; ++round) {
      const auto query = testing::random_unit_vector(random, 24);
      found_of_all += overlap(index.search(query, 10), reference_search(vectors, query, 10));
      std::set<std::int64_t> left_out;
      if (far) {
        for (const Candidate& near : reference_search(vectors, query, vectors.size() * 4 / 5)) left_out.insert(near.chunk);
      } else {
        for (std::size_t i = 0; i < vectors.size(); ++i) {
          if (i % 5 != 0) left_out.insert(id_of(i));
        }
      }
      IdList allowed;
      for (std::size_t i = 0; i < vectors.size(); ++i) {
        if (!left_out.contains(id_of(i))) allowed.push_back(id_of(i));
      }
      const auto hits = index.search(query, 10, &allowed);
      const auto expected = reference_search(vectors, query, 10, left_out);
      ASSERT_EQ(hits.size(), expected.size());
      for (const Candidate& hit : hits) EXPECT_FALSE(left_out.contains(hit.chunk));
      found += overlap(hits, expected);
    }
    EXPECT_GE(found, far ? 200 : found_of_all) << "far " << far;
  }
}

TEST(HnswGraph, FindsNothingWhereALookAtAllThatIsAllowedIsQuicker) {
  std::mt19937 random(29);
  VectorTable table(16);
  for (std::int64_t id = 1; id <= 10000; ++id) table.append(id, testing::random_unit_vector(random, 16));
  HnswGraph graph({.links = 6, .construction_width = 40, .search_width = 24});
  graph.extend(table);
  const auto query = testing::random_unit_vector(random, 16);
  const auto* row = reinterpret_cast<const std::byte*>(query.data());
  const auto farthest = [&] {
    std::vector<std::uint32_t> slots(table.size());
    std::iota(slots.begin(), slots.end(), 0);
    std::ranges::sort(slots, {}, [&](std::uint32_t slot) { return table.score(query, slot); });
    return slots;
  }();
  std::vector<bool> far(table.size());
  std::vector<bool> near(table.size());
  for (std::size_t i = 0; i < table.size() / 5; ++i) {
    far[farthest[i]] = true;
    near[farthest[farthest.size() - 1 - 5 * i]] = true;
  }
  EXPECT_TRUE(graph.search(row, 10, &far, 0.2).empty());
  EXPECT_EQ(graph.search(row, 10, &near, 0.2).size(), 10u);
  EXPECT_LT(graph.nodes_to_pass(10, 1), graph.nodes_to_pass(10, 0.2));
  EXPECT_LT(graph.nodes_to_pass(10, 0.2), graph.nodes_to_pass(10, 0.02));
}

TEST(HnswIndex, FindsTheSameAfterSavingAndLoading) {
  std::mt19937 random(17);
  for (const std::size_t n : {0, 100, 3000}) {
    const Vectors vectors = testing::clustered_vectors(random, n, 16, 20);
    HnswIndex index = make_index(vectors, 16);
    if (n > 0) index.remove({id_of(0), id_of(7), id_of(n - 1)});
    const testing::TemporaryDirectory directory;
    const auto path = directory.path() / "dense.idx";
    write_index_file(path, {IndexKind::kDense, "model", {1, 2}}, index.save());
    HnswIndex loaded = HnswIndex::load(IndexFile(path), 16);
    EXPECT_EQ(loaded.live_ids(), index.live_ids());
    EXPECT_EQ(loaded.last_id(), index.last_id());
    for (int i = 0; i < 30; ++i) {
      const auto query = testing::random_unit_vector(random, 16);
      const auto before = index.search(query, 10);
      const auto after = loaded.search(query, 10);
      ASSERT_EQ(before.size(), after.size());
      for (std::size_t j = 0; j < before.size(); ++j) EXPECT_EQ(before[j].chunk, after[j].chunk);
    }
    // A loaded graph grows like one that was made here.
    for (std::size_t i = n; i < n + 500; ++i)
      loaded.append(id_of(i), testing::random_unit_vector(random, 16));
    loaded.link();
    EXPECT_EQ(loaded.size(), n + 500 - (n > 0 ? 3 : 0));
    EXPECT_EQ(loaded.search(testing::random_unit_vector(random, 16), 20).size(), 20u);
  }
}

TEST(HnswIndex, EqualVectorsAreFoundInOrderOfTheirIds) {
  HnswIndex index(4);
  const std::vector<float> vector = {0.5f, 0.5f, 0.5f, 0.5f};
  for (std::int64_t id = 1; id <= 10; ++id) index.append(id, vector);
  index.link();
  const auto hits = index.search(vector, 3);
  ASSERT_EQ(hits.size(), 3u);
  for (std::int64_t i = 0; i < 3; ++i) EXPECT_EQ(hits[static_cast<std::size_t>(i)].chunk, i + 1);
}

class HnswFormats : public ::testing::TestWithParam<VectorFormat> {};

INSTANTIATE_TEST_SUITE_P(All, HnswFormats,
                         ::testing::Values(VectorFormat::kFloat32, VectorFormat::kFloat16, VectorFormat::kInt8));

TEST_P(HnswFormats, RecallsWhatAnExactSearchOfTheFloatsFinds) {
  std::mt19937 random(21);
  const Vectors vectors = testing::clustered_vectors(random, 4000, 50, 60);
  HnswIndex index(50, {.format = GetParam()});
  for (std::size_t i = 0; i < vectors.size(); ++i) index.append(id_of(i), vectors[i]);
  index.link();
  std::size_t found = 0;
  for (int i = 0; i < 100; ++i) {
    const auto query = testing::random_unit_vector(random, 50);
    const auto hits = index.search(query, 10);
    const auto expected = reference_search(vectors, query, 10);
    found += overlap(hits, expected);
    for (const Candidate& hit : hits) {
      const auto& row = vectors[static_cast<std::size_t>(hit.chunk / 3)];
      double product = 0;
      for (std::size_t j = 0; j < 50; ++j) product += double{query[j]} * row[j];
      EXPECT_NEAR(hit.score, product, GetParam() == VectorFormat::kInt8 ? 0.01 : 0.001);
    }
  }
  EXPECT_GE(found, 930u);
}

TEST_P(HnswFormats, SurviveSavingLoadingGrowthAndCompaction) {
  std::mt19937 random(22);
  const Vectors vectors = testing::clustered_vectors(random, 3000, 24, 20);
  const HnswIndexOptions options{.format = GetParam(), .graph = {.links = 8, .construction_width = 60}};
  HnswIndex index(24, options);
  for (std::size_t i = 0; i < vectors.size(); ++i) index.append(id_of(i), vectors[i]);
  index.link();
  index.remove({id_of(0), id_of(5)});
  const testing::TemporaryDirectory directory;
  const auto path = directory.path() / "dense.idx";
  write_index_file(path, {IndexKind::kDense, "model", {1, 2}}, index.save());
  HnswIndex loaded = HnswIndex::load(IndexFile(path), 24, options);
  EXPECT_EQ(loaded.live_ids(), index.live_ids());
  const HnswIndex compacted = index.compacted();
  for (int i = 0; i < 20; ++i) {
    const auto query = testing::random_unit_vector(random, 24);
    const auto hits = index.search(query, 10);
    expect_same(loaded.search(query, 10), hits);
    EXPECT_EQ(compacted.search(query, 10).size(), 10u);
  }
  loaded.append(id_of(5000), vectors[0]);
  loaded.link();
  EXPECT_EQ(loaded.search(vectors[0], 1).at(0).chunk, id_of(5000));
  if (GetParam() != VectorFormat::kFloat32) {
    EXPECT_THROW((void)HnswIndex::load(IndexFile(path), 24), FormatError);
  }
}

TEST(HnswIndex, InnerProductsRankVectorsOfAnyLength) {
  std::mt19937 random(23);
  Vectors vectors = testing::clustered_vectors(random, 3000, 16, 20);
  for (std::size_t i = 0; i < vectors.size(); ++i) {
    for (float& value : vectors[i]) value *= 0.5F + static_cast<float>(i % 7);
  }
  const HnswIndexOptions options{.metric = VectorMetric::kInnerProduct};
  HnswIndex index(16, options);
  for (std::size_t i = 0; i < vectors.size(); ++i) index.append(id_of(i), vectors[i]);
  index.link();
  std::size_t found = 0;
  for (int i = 0; i < 50; ++i) {
    const auto query = testing::random_unit_vector(random, 16);
    std::vector<Candidate> all;
    for (std::size_t j = 0; j < vectors.size(); ++j) {
      double product = 0;
      for (std::size_t d = 0; d < 16; ++d) product += double{query[d]} * vectors[j][d];
      all.push_back({id_of(j), static_cast<float>(product)});
    }
    std::sort(all.begin(), all.end(), ranks_before);
    all.resize(10);
    found += overlap(index.search(query, 10), all);
  }
  EXPECT_GE(found, 450u);
  const testing::TemporaryDirectory directory;
  write_index_file(directory.path() / "i", {IndexKind::kDense, "model", {1, 2}}, index.save());
  EXPECT_NO_THROW((void)HnswIndex::load(IndexFile(directory.path() / "i"), 16, options));
  EXPECT_THROW((void)HnswIndex::load(IndexFile(directory.path() / "i"), 16), FormatError);
}

TEST(HnswIndex, OptionsOutOfRangeAreRefusedAndOthersMustBeThoseOfTheFile) {
  EXPECT_THROW(HnswIndex(4, {.graph = {.links = 1}}), InvalidArgument);
  EXPECT_THROW(HnswIndex(4, {.graph = {.links = 129}}), InvalidArgument);
  EXPECT_THROW(HnswIndex(4, {.graph = {.construction_width = 0}}), InvalidArgument);
  EXPECT_THROW(HnswIndex(4, {.graph = {.search_width = 10001}}), InvalidArgument);
  std::mt19937 random(24);
  const Vectors vectors = testing::clustered_vectors(random, 2500, 8, 5);
  const testing::TemporaryDirectory directory;
  write_index_file(directory.path() / "i", {IndexKind::kDense, "model", {1, 2}}, make_index(vectors, 8).save());
  EXPECT_THROW((void)HnswIndex::load(IndexFile(directory.path() / "i"), 8, {.graph = {.links = 8}}), FormatError);
}

TEST(HnswIndex, IsToBeMadeAnewPastTheShareOfDeletedRowsAskedFor) {
  const auto deletions_until_due = [](double share) {
    HnswIndex index(2, {.compact_beyond = share});
    for (std::int64_t id = 1; id <= 10; ++id) index.append(id, std::vector<float>{1, 0});
    std::int64_t deleted = 0;
    while (!index.needs_compaction() && deleted < 10) index.remove({++deleted});
    EXPECT_EQ(index.compacted().options().compact_beyond, share);
    return index.needs_compaction() ? deleted : -1;
  };
  EXPECT_EQ(deletions_until_due(HnswIndexOptions().compact_beyond), 4);
  EXPECT_EQ(deletions_until_due(0), 1);
  EXPECT_EQ(deletions_until_due(0.75), 8);
  EXPECT_EQ(deletions_until_due(1), -1);
  for (const double share : {-0.1, 1.1, std::nan("")})
    EXPECT_THROW(HnswIndex(2, {.compact_beyond = share}), InvalidArgument) << share;
}

TEST(HnswIndex, AFilterFromBeforeAChangeIsRefused) {
  HnswIndex index(2);
  index.append(1, std::vector<float>{1, 0});
  const HnswIndex::Filter filter = index.prepare({1});
  index.append(2, std::vector<float>{0, 1});
  EXPECT_THROW((void)index.search(std::vector<float>{1, 0}, 1, filter), InvalidArgument);
}

TEST(HnswIndex, WiderSearchesFindMore) {
  std::mt19937 random(25);
  Vectors vectors;
  for (int i = 0; i < 4000; ++i) vectors.push_back(testing::random_unit_vector(random, 64));
  std::size_t previous = 0;
  for (const std::size_t width : {20, 100, 800}) {
    HnswIndex index(64, {.graph = {.links = 8, .construction_width = 50, .search_width = width}});
    for (std::size_t i = 0; i < vectors.size(); ++i) index.append(id_of(i), vectors[i]);
    index.link();
    std::mt19937 asking(26);
    std::size_t found = 0;
    for (int i = 0; i < 40; ++i) {
      const auto query = testing::random_unit_vector(asking, 64);
      found += overlap(index.search(query, 10), reference_search(vectors, query, 10));
    }
    EXPECT_GT(found, previous) << "width " << width;
    previous = found;
  }
}

TEST(HnswIndex, LinkingReportsProgressAndStopsWhereThatThrows) {
  std::mt19937 random(27);
  const Vectors vectors = testing::clustered_vectors(random, 3000, 8, 5);
  HnswIndex index(8);
  for (std::size_t i = 0; i < vectors.size(); ++i) index.append(id_of(i), vectors[i]);
  EXPECT_THROW(index.link([](std::size_t, std::size_t) { throw std::runtime_error("stop"); }), std::runtime_error);
  EXPECT_EQ(index.search(vectors[4], 1).at(0).chunk, id_of(4));  // exact while there is no graph
  std::vector<std::size_t> reported;
  index.link([&](std::size_t done, std::size_t total) {
    EXPECT_EQ(total, 2999u);
    reported.push_back(done);
  });
  EXPECT_EQ(reported, (std::vector<std::size_t>{1024, 2048, 2999}));
}

TEST(HnswIndex, VectorsThatAFormatCannotHoldAreRefusedAndLeaveTheIndexAsItWas) {
  HnswIndex index(2, {.format = VectorFormat::kFloat16, .metric = VectorMetric::kInnerProduct});
  EXPECT_THROW(index.append(1, std::vector<float>{1e6F, 0}), InvalidArgument);
  EXPECT_THROW(index.append(1, std::vector<float>{NAN, 0}), InvalidArgument);
  EXPECT_EQ(index.size(), 0u);
  index.append(1, std::vector<float>{3, 4});
  EXPECT_FLOAT_EQ(index.search(std::vector<float>{1, 1}, 5).at(0).score, 7);
}

}  // namespace
}  // namespace taesr
