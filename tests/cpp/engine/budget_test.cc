#include "engine/budget.h"

#include <cmath>
#include <limits>
#include <set>
#include <thread>

#include <gtest/gtest.h>

#include "support/bundled_encoder.h"
#include "support/vectors.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

using testing::dot;
using testing::encoder;

std::vector<std::string> some_texts(std::size_t count) {
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < count; ++i) {
    std::string text = "Article " + std::to_string(i);
    for (std::size_t j = 0; j < i * 7 % 60; ++j) text += j % 2 == 0 ? " printer" : " offline";
    texts.push_back(text);
  }
  return texts;
}

std::string refusal(const std::vector<std::string>& texts, const EncodeOptions& options) {
  try {
    (void)encoder().encode(texts, options);
    return "";
  } catch (const InvalidArgument& error) {
    return error.what();
  }
}

TEST(DepthLadder, HoldsTheNamedDepthsUpToTheDeepestAsked) {
  const TAESRConfig config;  // 1, 3, 6
  EXPECT_EQ(depth_ladder(config, 6), (std::vector<int>{1, 3, 6}));
  EXPECT_EQ(depth_ladder(config, 5), (std::vector<int>{1, 3, 5}));
  EXPECT_EQ(depth_ladder(config, 3), (std::vector<int>{1, 3}));
  EXPECT_EQ(depth_ladder(config, 1), (std::vector<int>{1}));
}

TEST(MaxFlops, EachTextTakesTheDeepestDepthThatItPaysFor) {
  const auto texts = some_texts(40);
  const double budget = encoder().flops(40, "medium");
  const auto result = encoder().encode(texts, {.max_flops = budget});
  const auto& steps = encoder().config().recursion_steps;
  std::set<int> seen;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    int expected = 0;
    for (const auto& [name, depth] : steps) {
      if (encoder().flops(result.token_counts[i], name) <= budget) expected = std::max(expected, depth);
    }
    EXPECT_EQ(result.depths[i], expected) << i;
    seen.insert(expected);
    const auto alone = encoder().encode(std::span(&texts[i], 1), {.depth = std::to_string(expected)});
    EXPECT_GE(dot(alone.embeddings.row(0), result.embeddings.row(i)), 1 - 1e-6) << i;
  }
  EXPECT_EQ(seen.size(), 3u) << "the test needs texts of all depths";
  EXPECT_EQ(encoder().encode(texts, {.max_flops = budget}).depths, result.depths);
}

TEST(MaxFlops, DepthIsTheCeiling) {
  const auto texts = some_texts(3);
  EXPECT_EQ(encoder().encode(texts, {.depth = "2", .max_flops = 1e18}).depths, std::vector<int>(3, 2));
  EXPECT_EQ(encoder().encode(texts, {.depth = "auto", .max_flops = 1e18}).depths, std::vector<int>(3, 6));
}

TEST(MaxFlops, ABudgetIsEnoughToTheLastOperation) {
  const std::vector<std::string> texts = {"reset password"};
  const double hard = encoder().flops(encoder().count_tokens(texts[0]), "hard");
  EXPECT_EQ(encoder().encode(texts, {.max_flops = hard}).depths.front(), 6);
  EXPECT_EQ(encoder().encode(texts, {.max_flops = std::nextafter(hard, 0)}).depths.front(), 3);
}

TEST(MaxFlops, ATextTooDearForEasyIsNamedWithItsLeastCost) {
  std::vector<std::string> texts = some_texts(2);
  texts.push_back(std::string(20'000, 'x'));
  const std::string message = refusal(texts, {.max_flops = encoder().flops(200, "easy"), .first_text = 100});
  EXPECT_NE(message.find("text 102 of"), std::string::npos) << message;
  EXPECT_NE(message.find("at depth 1; max_flops is"), std::string::npos) << message;
  EXPECT_EQ(refusal(texts, {.on_overflow = Overflow::kTruncate, .max_flops = encoder().flops(encoder().max_tokens(), "easy")}), "");
}

TEST(Budgets, MustBeFiniteAndAboveZero) {
  for (const double bad : {0.0, -1.0, std::nan(""), std::numeric_limits<double>::infinity()}) {
    EXPECT_NE(refusal({"a"}, {.max_flops = bad}).find("max_flops is"), std::string::npos) << bad;
    EXPECT_NE(refusal({"a"}, {.deadline_ms = bad}).find("deadline_ms is"), std::string::npos) << bad;
    EXPECT_NE(refusal({}, {.max_flops = bad}), "") << "of no texts too";
  }
}

TEST(DeadlineMs, AmpleTimeChangesNothing) {
  const auto texts = some_texts(60);
  for (const char* depth : {"medium", "hard", "2"}) {
    const auto free = encoder().encode(texts, {.depth = depth});
    const auto timed = encoder().encode(texts, {.depth = depth, .deadline_ms = 1e300});
    EXPECT_EQ(timed.depths, free.depths);
    EXPECT_FALSE(timed.deadline_missed);
    for (std::size_t i = 0; i < texts.size(); ++i) {
      EXPECT_GE(dot(timed.embeddings.row(i), free.embeddings.row(i)), 1 - 1e-6);
    }
  }
}

TEST(DeadlineMs, WithoutTimeEveryTextIsEmbeddedAtEasyAndTheMissIsReported) {
  const auto texts = some_texts(60);
  const auto timed = encoder().encode(texts, {.depth = "hard", .deadline_ms = 1e-6});
  EXPECT_TRUE(timed.deadline_missed);
  EXPECT_EQ(timed.depths, std::vector<int>(60, 1));
  const auto easy = encoder().encode(texts, {.depth = "easy"});
  for (std::size_t i = 0; i < texts.size(); ++i) {
    EXPECT_GE(dot(timed.embeddings.row(i), easy.embeddings.row(i)), 1 - 1e-6);
  }
  EXPECT_TRUE(encoder().encode(texts, {.max_flops = 1e18, .deadline_ms = 1e-6}).deadline_missed);
}

TEST(DeadlineMs, NoTextsAreInTime) {
  EXPECT_FALSE(encoder().encode({}, {.deadline_ms = 1e6}).deadline_missed);
}

TEST(DeadlineMs, TheDeepestDepthThatTheRatePaysForIsChosen) {
  const int ladder[] = {1, 3, 6};
  const auto flops = [](int depth) { return 100.0 * depth; };
  Deadline deadline(60'000);
  EXPECT_EQ(deadline.affordable(ladder, flops), 1) << "nothing is known yet";
  deadline.record(1000, 1);  // 60 s at 1000 a second
  EXPECT_EQ(deadline.affordable(ladder, flops), 6);
  deadline.record(0, 199);  // 5 a second: about 300 in all, of which 0.9 are planned for
  EXPECT_EQ(deadline.affordable(ladder, flops), 1);
  deadline.record(1000, 0);  // 10 a second
  EXPECT_EQ(deadline.affordable(ladder, flops), 3);
  Deadline over(1e-6);
  over.record(1e12, 1);
  std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_LT(over.seconds_left(), 0);
  EXPECT_EQ(over.affordable(ladder, flops), 1);
}

}  // namespace
}  // namespace taesr
