#include "engine/batching.h"

#include <set>

#include <gtest/gtest.h>

namespace taesr {
namespace {

TEST(Windows, ShortTextsAreOneWindow) {
  using Spans = std::vector<std::pair<std::size_t, std::size_t>>;
  EXPECT_EQ(window_spans(0, 254), (Spans{{0, 0}}));
  EXPECT_EQ(window_spans(254, 254), (Spans{{0, 254}}));
}

TEST(Windows, CoverEveryTokenWithOverlapAndWithinTheSize) {
  for (const std::size_t size : {6u, 10u, 254u}) {
    for (std::size_t length = size + 1; length < 12 * size; length += 1 + length / 50) {
      const auto spans = window_spans(length, size);
      EXPECT_EQ(spans.front().first, 0u);
      EXPECT_EQ(spans.back().second, length);
      for (std::size_t i = 0; i < spans.size(); ++i) {
        EXPECT_EQ(spans[i].second - spans[i].first, size);
        if (i > 0) {
          EXPECT_LT(spans[i].first, spans[i - 1].second) << length << " " << size;
          EXPECT_GT(spans[i].first, spans[i - 1].first);
        }
      }
    }
  }
}

TEST(Batches, HoldEveryWindowOnceWithinTheBudget) {
  std::vector<Window> windows;
  for (std::size_t i = 0; i < 200; ++i) windows.push_back({i, std::vector<int>(1 + i * 37 % 250)});
  const auto batches = plan_batches(windows, 1000);
  std::multiset<std::size_t> seen;
  for (const auto& batch : batches) {
    std::size_t tokens = 0;
    for (const std::size_t index : batch) {
      seen.insert(index);
      tokens += windows[index].ids.size();
    }
    EXPECT_LE(tokens, 1000u);
  }
  EXPECT_EQ(seen.size(), 200u);
  EXPECT_EQ(std::set(seen.begin(), seen.end()).size(), 200u);
}

TEST(Batches, AWindowAboveTheBudgetTravelsAlone) {
  const std::vector<Window> windows = {{0, std::vector<int>(50)}, {1, std::vector<int>(5)}};
  EXPECT_EQ(plan_batches(windows, 10), (std::vector<std::vector<std::size_t>>{{0}, {1}}));
  EXPECT_TRUE(plan_batches({}, 10).empty());
}

}  // namespace
}  // namespace taesr
