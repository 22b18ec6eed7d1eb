#include "retrieval/effort.h"

#include <array>

namespace taesr {
namespace {

// Quantiles of the margin of the bundled model at depth easy, every eighth.
constexpr std::array<double, 9> kMargins = {0.0, 0.055, 0.070, 0.087, 0.102, 0.128, 0.157, 0.203, 0.5};

double threshold(double effort) {
  const double position = effort * static_cast<double>(kMargins.size() - 1);
  const auto below = static_cast<std::size_t>(position);
  if (below + 1 >= kMargins.size()) return kMargins.back();
  const double part = position - static_cast<double>(below);
  return kMargins[below] + part * (kMargins[below + 1] - kMargins[below]);
}

}  // namespace

bool margin_is_thin(std::span<const Candidate> candidates, double effort) {
  if (candidates.size() <= kMarginAt) return false;
  return double{candidates.front().score} - candidates[kMarginAt].score < threshold(effort);
}

}  // namespace taesr
