#pragma once

#include <chrono>
#include <functional>
#include <span>
#include <vector>

#include "taesr/encoder.h"

namespace taesr {

/// Throws InvalidArgument for a budget that is not a finite number above 0.
void check_budget(const EncodeOptions& options);

/// Depths that a budget may choose from, ascending: those that the config names, up to `deepest`, and
/// `deepest` itself. Others in between are left out, as a model need not have been trained for them.
[[nodiscard]] std::vector<int> depth_ladder(const TAESRConfig& config, int deepest);

/// By text, the deepest of `ladder` that options.max_flops pays for. Reads token_counts and windows of
/// `result`. Throws InvalidArgument that names the first text for which the shallowest costs more.
[[nodiscard]] std::vector<int> depths_within(const TAESRConfig& config, const EncodeOptions& options,
                                             const EncodeResult& result, std::span<const int> ladder);

/// The time that a call has, from its construction, and the rate at which its work goes.
class Deadline {
 public:
  explicit Deadline(double milliseconds);

  [[nodiscard]] double seconds_left() const;

  /// `flops` of work have taken `seconds`.
  void record(double flops, double seconds);

  /// The deepest of `ladder` at which work of `flops(depth)` would be done in time; the shallowest
  /// if none would, and before anything was recorded.
  [[nodiscard]] int affordable(std::span<const int> ladder, const std::function<double(int)>& flops) const;

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point end_;
  double flops_ = 0;
  double seconds_ = 0;
};

}  // namespace taesr
