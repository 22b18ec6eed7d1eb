#include "engine/budget.h"

#include <cmath>
#include <cstdio>
#include <string>

#include "engine/flops.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

// Rates vary from batch to batch: what is planned fills this share of the time.
constexpr double kPlannedShare = 0.9;

// No call is given more time than this; the clock cannot count to every double.
constexpr double kMostMilliseconds = 1e12;

std::string number(double value) {
  char text[40];
  std::snprintf(text, sizeof text, "%.4g", value);
  return text;
}

void check_positive(const char* name, const std::optional<double>& value) {
  if (!value || (std::isfinite(*value) && *value > 0)) return;
  throw InvalidArgument(std::string(name) + " is " + number(*value) + "; it must be a finite number above 0");
}

}  // namespace

void check_budget(const EncodeOptions& options) {
  check_positive("max_flops", options.max_flops);
  check_positive("deadline_ms", options.deadline_ms);
}

std::vector<int> depth_ladder(const TAESRConfig& config, int deepest) {
  std::vector<int> ladder;
  for (const char* name : {"easy", "medium", "hard"}) {
    const int depth = config.recursions(name);
    if (depth < deepest && (ladder.empty() || depth > ladder.back())) ladder.push_back(depth);
  }
  ladder.push_back(deepest);
  return ladder;
}

std::vector<int> depths_within(const TAESRConfig& config, const EncodeOptions& options, const EncodeResult& result,
                               std::span<const int> ladder) {
  const ModelShape shape = ModelShape::of(config);
  const double subspaces = subspace_values(config, options.outputs);
  std::vector<int> depths;
  depths.reserve(result.windows.size());
  for (std::size_t text = 0; text < result.windows.size(); ++text) {
    const auto cost = [&](int depth) {
      return text_flops(shape, static_cast<double>(result.token_counts[text]),
                        static_cast<double>(result.windows[text]), depth, options.outputs, subspaces);
    };
    std::size_t step = ladder.size();
    while (step > 0 && cost(ladder[step - 1]) > *options.max_flops) --step;
    if (step == 0) {
      throw InvalidArgument("text " + std::to_string(options.first_text + text) + " of " +
                            std::to_string(result.token_counts[text]) + " tokens takes at least " +
                            number(cost(ladder.front())) + " FLOPs, at depth " + std::to_string(ladder.front()) +
                            "; max_flops is " + number(*options.max_flops));
    }
    depths.push_back(ladder[step - 1]);
  }
  return depths;
}

Deadline::Deadline(double milliseconds)
    : end_(Clock::now() + std::chrono::duration_cast<Clock::duration>(
                              std::chrono::duration<double, std::milli>(std::min(milliseconds, kMostMilliseconds)))) {}

double Deadline::seconds_left() const { return std::chrono::duration<double>(end_ - Clock::now()).count(); }

void Deadline::record(double flops, double seconds) {
  flops_ += flops;
  seconds_ += seconds;
}

int Deadline::affordable(std::span<const int> ladder, const std::function<double(int)>& flops) const {
  if (flops_ <= 0 || seconds_ <= 0) return ladder.front();
  const double payable = kPlannedShare * seconds_left() * flops_ / seconds_;
  for (std::size_t step = ladder.size(); step-- > 1;) {
    if (flops(ladder[step]) <= payable) return ladder[step];
  }
  return ladder.front();
}

}  // namespace taesr
