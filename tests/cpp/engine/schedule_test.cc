#include "engine/schedule.h"

#include <chrono>
#include <thread>

#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <gtest/gtest.h>

namespace taesr {
namespace {

/// Counts what a model would have to do. The entry states of a window are rows that hold its number.
class CountingStages : public Stages {
 public:
  explicit CountingStages(std::span<const Window> windows) : windows_(windows), depth_of_(windows.size(), 0) {}

  at::Tensor enter(std::span<const std::size_t> chosen) override {
    ++entries;
    std::vector<at::Tensor> rows;
    for (const std::size_t i : chosen) {
      entered_tokens += windows_[i].ids.size();
      rows.push_back(at::empty({static_cast<std::int64_t>(windows_[i].ids.size()), 2}).fill_(static_cast<double>(i)));
    }
    std::this_thread::sleep_for(pause);
    return at::cat(rows);
  }

  void finish(std::span<const std::size_t> chosen, const at::Tensor& entry, int depth) override {
    std::int64_t row = 0;
    for (const std::size_t i : chosen) {
      EXPECT_EQ(depth_of_[i], 0) << "window " << i << " is finished twice";
      depth_of_[i] = depth;
      for (std::size_t t = 0; t < windows_[i].ids.size(); ++t, ++row) {
        ASSERT_EQ(entry.data_ptr<float>()[2 * row], static_cast<float>(i)) << "states of another window";
      }
    }
    EXPECT_EQ(row, entry.size(0));
    ++batches[depth];
    tokens[depth] += static_cast<std::size_t>(row);
    largest = std::max(largest, static_cast<std::size_t>(row));
    order.insert(order.end(), chosen.begin(), chosen.end());
    std::this_thread::sleep_for(pause * depth);
  }

  [[nodiscard]] const std::vector<int>& depths() const { return depth_of_; }

  std::size_t entries = 0;
  std::size_t entered_tokens = 0;
  std::map<int, std::size_t> batches;  // by depth
  std::map<int, std::size_t> tokens;   // by depth
  std::size_t largest = 0;
  std::vector<std::size_t> order;
  std::chrono::microseconds pause{0};

 private:
  std::span<const Window> windows_;
  std::vector<int> depth_of_;
};

std::vector<Window> some_windows(std::size_t count) {
  std::vector<Window> windows;
  for (std::size_t i = 0; i < count; ++i) windows.push_back({i, std::vector<int>(2 + i * 37 % 60)});
  return windows;
}

/// Depths 1, 3 and 6, mixed without a pattern that the lengths share.
std::vector<int> mixed_depths(std::size_t count) {
  std::vector<int> depths;
  for (std::size_t i = 0; i < count; ++i) depths.push_back(i % 10 < 6 ? 1 : i % 10 < 9 ? 3 : 6);
  return depths;
}

TEST(DepthBuckets, EveryWindowGoesExactlyAsDeepAsItShouldAndNoDeeper) {
  const auto windows = some_windows(2000);
  const auto by_text = mixed_depths(2000);
  const WindowDepths depths(windows, by_text);
  CountingStages stages(windows);
  run_in_buckets(windows, depths, 1000, stages);
  EXPECT_EQ(stages.depths(), by_text);
  std::size_t applied = 0;  // tokens times recursions
  std::size_t expected = 0;
  for (const auto& [depth, tokens] : stages.tokens) applied += static_cast<std::size_t>(depth) * tokens;
  for (std::size_t i = 0; i < windows.size(); ++i) {
    expected += static_cast<std::size_t>(by_text[i]) * windows[i].ids.size();
  }
  EXPECT_EQ(applied, expected) << "the mean depth and not the maximum";
  EXPECT_LE(stages.largest, 1000u);
}

TEST(DepthBuckets, ADepthThatFewTextsTakeFillsItsBatchesFromManyOthers) {
  const auto windows = some_windows(2000);
  const auto by_text = mixed_depths(2000);
  const WindowDepths depths(windows, by_text);
  CountingStages stages(windows);
  run_in_buckets(windows, depths, 1000, stages);
  for (const auto& [depth, batches] : stages.batches) {
    // Batches are at least half full, but for the last one of each depth.
    EXPECT_LE(batches, 1 + stages.tokens[depth] / 500) << depth;
    EXPECT_LT(3 * stages.batches[6], stages.entries) << "not one in every batch that has such a text";
  }
}

TEST(DepthBuckets, OneDepthNeedsNoMoreBatchesThanWerePlanned) {
  const auto windows = some_windows(500);
  const WindowDepths depths(windows.size(), 3);
  CountingStages stages(windows);
  run_in_buckets(windows, depths, 1000, stages);
  EXPECT_EQ(stages.batches, (std::map<int, std::size_t>{{3, plan_batches(windows, 1000).size()}}));
}

TEST(DepthBuckets, NoWindowsAreNoWork) {
  CountingStages stages({});
  run_in_buckets({}, WindowDepths(0, 3), 1000, stages);
  EXPECT_EQ(stages.entries, 0u);
  EXPECT_TRUE(stages.batches.empty());
}

double work(std::size_t tokens, int depth) { return static_cast<double>(tokens) * (1 + depth); }

TEST(RunUntil, ShortWindowsComeFirstAndDepthFallsAsTimeRunsOut) {
  const auto windows = some_windows(400);
  WindowDepths depths(windows.size(), 6);
  CountingStages stages(windows);
  stages.pause = std::chrono::milliseconds(1);  // a batch: 1 ms to enter, as many as its depth to finish
  const int ladder[] = {1, 3, 6};
  const auto batches = static_cast<double>(plan_batches(windows, 500).size());
  Deadline deadline(batches * 4);  // between depth 1, 2 ms a batch, and depth 6, 7 ms
  run_until(deadline, windows, depths, ladder, 500, work, stages);
  ASSERT_EQ(stages.order.size(), windows.size());
  for (std::size_t i = 1; i < stages.order.size(); ++i) {
    // From batch to batch lengths rise; inside one they fall by less than a batch's spread.
    EXPECT_GE(windows[stages.order[i]].ids.size() + 10, windows[stages.order[i - 1]].ids.size());
  }
  EXPECT_GT(stages.batches[1] + stages.batches[3], 0u) << "at depth 6 alone it takes nearly twice the time";
  for (std::size_t i = 0; i < windows.size(); ++i) EXPECT_EQ(stages.depths()[i], depths.of(i));
}

TEST(RunUntil, NothingGoesDeeperThanWasPlanned) {
  const auto windows = some_windows(300);
  const auto by_text = mixed_depths(300);
  WindowDepths depths(windows, by_text);
  CountingStages stages(windows);
  stages.pause = std::chrono::microseconds(10);
  const int ladder[] = {1, 3, 6};
  Deadline deadline(1e9);
  run_until(deadline, windows, depths, ladder, 500, work, stages);
  EXPECT_EQ(stages.depths(), by_text);
}

TEST(RunUntil, WithoutTimeAllIsDoneAtTheShallowest) {
  const auto windows = some_windows(300);
  WindowDepths depths(windows.size(), 6);
  CountingStages stages(windows);
  const int ladder[] = {2, 6};
  Deadline deadline(1e-9);
  std::this_thread::sleep_for(std::chrono::milliseconds(1));
  run_until(deadline, windows, depths, ladder, 500, work, stages);
  EXPECT_EQ(stages.depths(), std::vector<int>(300, 2));
}

}  // namespace
}  // namespace taesr
