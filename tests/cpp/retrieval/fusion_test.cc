#include "taesr/fusion.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "taesr/errors.h"

namespace taesr {
namespace {

std::vector<HeadList> two_lists() {
  return {{"dense", {{1, 9.0f}, {2, 8.0f}, {3, 7.0f}}}, {"keyword", {{3, 0.9f}, {4, 0.8f}}}};
}

FusionOptions weighted(std::map<std::string, double> weights) {
  return {FusionMethod::kWeighted, 60, std::move(weights)};
}

std::vector<std::int64_t> order(const std::vector<FusedCandidate>& fused) {
  std::vector<std::int64_t> chunks;
  for (const FusedCandidate& candidate : fused) chunks.push_back(candidate.chunk);
  return chunks;
}

void expect_refused(const std::string& why, const std::vector<HeadList>& lists,
                    const FusionOptions& options) {
  try {
    static_cast<void>(fuse(lists, options));
    FAIL() << "accepted: " << why;
  } catch (const InvalidArgument& error) {
    EXPECT_NE(std::string(error.what()).find(why), std::string::npos) << error.what();
  }
}

TEST(Fusion, AddsReciprocalRanks) {
  const auto fused = fuse(two_lists());
  EXPECT_EQ(order(fused), (std::vector<std::int64_t>{3, 1, 2, 4})) << "equal scores go by id";
  EXPECT_DOUBLE_EQ(fused[0].score, 1 / 63.0 + 1 / 61.0);
  EXPECT_DOUBLE_EQ(fused[0].shares[0], 1 / 63.0);
  EXPECT_EQ(fused[1].shares[1], 0) << "not in the second list";
  EXPECT_TRUE(fuse({}).empty());
  EXPECT_TRUE(fuse(std::vector<HeadList>{{"dense", {}}, {"keyword", {}}}).empty());
}

TEST(Fusion, ReciprocalRanksMayBeWeighted) {
  FusionOptions options;
  options.rrf_k = 0;
  options.weights = {{"keyword", 3.0}};
  const auto fused = fuse(two_lists(), options);
  EXPECT_EQ(order(fused), (std::vector<std::int64_t>{3, 4, 1, 2}));
  EXPECT_DOUBLE_EQ(fused[0].score, 1 / 3.0 + 3.0);
}

TEST(Fusion, WeighsStandardScoresOverTheUnion) {
  // Dense over {1, 2, 3, 4}: 9, 8, 7 and, for the one it lacks, its lowest, 7. Mean 7.75, variance 0.6875.
  // Keyword: 0.8, 0.8, 0.9, 0.8: mean 0.825, deviation 0.0433.
  const auto fused = fuse(two_lists(), weighted({{"dense", 2}, {"keyword", 1}}));
  const double dense = 2 / std::sqrt(0.6875);
  const double keyword = 1 / std::sqrt(0.001875);
  ASSERT_EQ(order(fused), (std::vector<std::int64_t>{1, 2, 3, 4}));
  EXPECT_NEAR(fused[0].score, 1.25 * dense - 0.025 * keyword, 1e-5);
  EXPECT_NEAR(fused[1].score, 0.25 * dense - 0.025 * keyword, 1e-5);
  EXPECT_NEAR(fused[2].score, -0.75 * dense + 0.075 * keyword, 1e-5);
  EXPECT_NEAR(fused[3].score, -0.75 * dense - 0.025 * keyword, 1e-5);
}

TEST(Fusion, SharesAddUpToTheScoreExactly) {
  for (const FusionOptions& options : {FusionOptions{}, weighted({{"dense", 0.7}, {"keyword", 0.1}})}) {
    for (const FusedCandidate& candidate : fuse(two_lists(), options)) {
      EXPECT_EQ(std::accumulate(candidate.shares.begin(), candidate.shares.end(), 0.0), candidate.score);
    }
  }
}

TEST(Fusion, HeadsThatTellNothingApartHaveNoSay) {
  const std::vector<HeadList> lists = {{"dense", {{5, 0.5f}, {6, 0.5f}, {7, 0.5f}}},
                                       {"keyword", {{7, 2.0f}, {6, 1.0f}}},
                                       {"late", {}}};
  const auto fused = fuse(lists, weighted({{"dense", 100}, {"keyword", 1}, {"late", 1}}));
  EXPECT_EQ(order(fused), (std::vector<std::int64_t>{7, 5, 6}));
  for (const FusedCandidate& candidate : fused) {
    EXPECT_EQ(candidate.shares[0], 0);
    EXPECT_EQ(candidate.shares[2], 0);
  }
  const auto one = fuse(std::vector<HeadList>{{"dense", {{5, 0.5f}}}}, weighted({{"dense", 1}}));
  ASSERT_EQ(one.size(), 1u);
  EXPECT_EQ(one[0].score, 0);
}

TEST(Fusion, ScoresOfAnyScaleComeToTheSame) {
  std::vector<HeadList> lists = two_lists();
  const auto before = fuse(lists, weighted({{"dense", 0.4}, {"keyword", 0.6}}));
  for (Candidate& candidate : lists[0].candidates) candidate.score = candidate.score * 1024 - 77;
  const auto after = fuse(lists, weighted({{"dense", 0.4}, {"keyword", 0.6}}));
  ASSERT_EQ(order(before), order(after));
  for (std::size_t i = 0; i < before.size(); ++i) EXPECT_NEAR(before[i].score, after[i].score, 1e-6);
}

TEST(Fusion, WhatCannotBeFusedIsNamed) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const auto infinity = std::numeric_limits<float>::infinity();
  expect_refused("no weight for head 'keyword'", two_lists(), weighted({{"dense", 1}}));
  expect_refused("weight of head 'dense' is -1", two_lists(), weighted({{"dense", -1}, {"keyword", 1}}));
  expect_refused("weight of head 'keyword' is nan", two_lists(), weighted({{"dense", 1}, {"keyword", nan}}));
  expect_refused("all heads are 0", two_lists(), weighted({{"dense", 0}, {"keyword", 0}}));
  const FusionOptions broken = {FusionMethod::kReciprocalRank, 60, {{"dense", nan}}};
  expect_refused("weight of head 'dense' is nan", two_lists(), broken);
  expect_refused("rrf_k is -1", two_lists(), {FusionMethod::kReciprocalRank, -1, {}});
  expect_refused("names chunk 2 twice", {{"dense", {{2, 1.0f}, {2, 0.5f}}}}, {});
  expect_refused("two lists of head 'dense'", {{"dense", {}}, {"dense", {}}}, {});
  expect_refused("scores must be finite", {{"dense", {{2, infinity}}}}, {});
  expect_refused("scores must be finite", {{"dense", {{2, std::nanf("")}}}}, {});
  EXPECT_THROW(static_cast<void>(parse_fusion_method("sum")), InvalidArgument);
}

}  // namespace
}  // namespace taesr
