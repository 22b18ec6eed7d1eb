#include "engine/schedule.h"

#include <algorithm>
#include <utility>

#include <ATen/ops/cat.h>
#include <ATen/ops/tensor.h>

#include "kernels/to_device.h"

namespace taesr {
namespace {

/// Rows of `entry` that belong to the windows at `places` of a batch.
at::Tensor rows_of(const at::Tensor& entry, std::span<const std::int64_t> offsets,
                   std::span<const std::size_t> places) {
  std::vector<std::int64_t> rows;
  for (const std::size_t place : places) {
    for (std::int64_t row = offsets[place]; row < offsets[place + 1]; ++row) rows.push_back(row);
  }
  return entry.index_select(0, to_device(at::tensor(rows, at::kLong), entry.device()));
}

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace

void DepthBuckets::add(std::span<const std::size_t> chosen, const at::Tensor& entry, std::span<const int> depths) {
  std::vector<std::int64_t> offsets = {0};
  std::map<int, std::vector<std::size_t>> places;
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    offsets.push_back(offsets.back() + static_cast<std::int64_t>(windows_[chosen[i]].ids.size()));
    places[depths[i]].push_back(i);
  }
  for (const auto& [depth, group] : places) {
    Bucket part;
    for (const std::size_t place : group) {
      part.chosen.push_back(chosen[place]);
      part.tokens += windows_[chosen[place]].ids.size();
    }
    part.entry.push_back(places.size() == 1 ? entry : rows_of(entry, offsets, group));
    // What goes fills at least half a batch.
    if (2 * part.tokens > budget_) {
      finish(depth, part);
      continue;
    }
    Bucket& bucket = waiting_[depth];
    if (bucket.tokens + part.tokens > budget_) finish(depth, bucket);
    bucket.chosen.insert(bucket.chosen.end(), part.chosen.begin(), part.chosen.end());
    bucket.entry.insert(bucket.entry.end(), part.entry.begin(), part.entry.end());
    bucket.tokens += part.tokens;
  }
}

void DepthBuckets::flush() {
  for (auto& [depth, bucket] : waiting_) finish(depth, bucket);
  waiting_.clear();
}

void DepthBuckets::finish(int depth, Bucket& bucket) {
  const Bucket full = std::exchange(bucket, {});
  if (full.chosen.empty()) return;
  stages_.finish(full.chosen, full.entry.size() == 1 ? full.entry.front() : at::cat(full.entry), depth);
}

void run_in_buckets(std::span<const Window> windows, const WindowDepths& depths, std::size_t budget, Stages& stages) {
  DepthBuckets buckets(windows, budget, stages);
  for (const auto& chosen : plan_batches(windows, budget)) {
    const at::Tensor entry = stages.enter(chosen);
    buckets.add(chosen, entry, depths.of(chosen));
  }
  buckets.flush();
}

void run_until(Deadline& deadline, std::span<const Window> windows, WindowDepths& depths, std::span<const int> ladder,
               std::size_t budget, const std::function<double(std::size_t, int)>& flops, Stages& stages) {
  auto batches = plan_batches(windows, budget);
  std::reverse(batches.begin(), batches.end());
  const auto cost = [&](std::size_t batch, int limit) {
    double sum = 0;
    for (const std::size_t i : batches[batch]) {
      sum += flops(windows[i].ids.size(), depths.decided(i) ? std::min(limit, depths.of(i)) : limit);
    }
    return sum;
  };
  // rest[b][s]: batches b and later, no deeper than step s.
  std::vector<std::vector<double>> rest(batches.size() + 1, std::vector<double>(ladder.size(), 0));
  for (std::size_t b = batches.size(); b-- > 0;) {
    for (std::size_t s = 0; s < ladder.size(); ++s) rest[b][s] = rest[b + 1][s] + cost(b, ladder[s]);
  }
  for (std::size_t b = 0; b < batches.size(); ++b) {
    const auto& chosen = batches[b];
    const double entry_flops = cost(b, 0);
    auto begin = std::chrono::steady_clock::now();
    const at::Tensor entry = stages.enter(chosen);
    deadline.record(entry_flops, seconds_since(begin));
    const int limit = deadline.affordable(ladder, [&](int depth) {
      const auto step = std::find(ladder.begin(), ladder.end(), depth) - ladder.begin();
      return rest[b][static_cast<std::size_t>(step)] - entry_flops;
    });
    depths.lower(chosen, limit);
    const double finish_flops = cost(b, limit) - entry_flops;
    begin = std::chrono::steady_clock::now();
    DepthBuckets buckets(windows, budget, stages);
    buckets.add(chosen, entry, depths.of(chosen));
    buckets.flush();
    deadline.record(finish_flops, seconds_since(begin));
  }
}

}  // namespace taesr
