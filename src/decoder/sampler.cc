#include "decoder/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "decoder/vectors.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

void check(const char* option, double value, double least, double most) {
  if (value >= least && value <= most) return;
  throw InvalidArgument(std::string(option) + " is " + std::to_string(value) +
                        "; allowed: " + std::to_string(least) + " to " + std::to_string(most));
}

/// Scores of tokens that were there fall, once however often they were (Keskar et al. 2019, arXiv
/// 1909.05858).
void penalise(std::span<float> logits, std::span<const int> before, float penalty) {
  std::vector<int> seen(before.begin(), before.end());
  std::sort(seen.begin(), seen.end());
  seen.erase(std::unique(seen.begin(), seen.end()), seen.end());
  for (const int token : seen) {
    float& logit = logits[static_cast<std::size_t>(token)];
    logit = logit > 0 ? logit / penalty : logit * penalty;
  }
}

}  // namespace

void check_options(const GenerateOptions& options) {
  if (options.max_tokens < 1) throw InvalidArgument("max_tokens is 0; it must be at least 1");
  check("temperature", options.temperature, 0, 100);
  check("top_p", options.top_p, 1e-6, 1);
  check("repetition_penalty", options.repetition_penalty, 0.01, 100);
  for (const std::string& stop : options.stop) {
    if (stop.empty()) {
      throw InvalidArgument("stop holds an empty text, which would stop at once; leave it out");
    }
  }
}

int Sampler::choose(std::span<float> logits, std::span<const int> before) {
  if (options_.repetition_penalty != 1) {
    penalise(logits, before, static_cast<float>(options_.repetition_penalty));
  }
  const std::int64_t best = vectors::find_largest(logits.data(), static_cast<std::int64_t>(logits.size()));
  if (best < 0) {
    throw Error(
        "the decoder computed scores that are not numbers; its weights are damaged: get the file again");
  }
  return options_.temperature > 0 && options_.top_k != 1 ? draw(logits) : static_cast<int>(best);
}

/// Keeps the top_k best, then the fewest of them that together have the probability top_p (Holtzman et al.
/// 2020, arXiv 1904.09751).
int Sampler::draw(std::span<const float> logits) {
  std::vector<int> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  const auto score = [&](int token) { return logits[static_cast<std::size_t>(token)]; };
  const auto better = [&](int a, int b) { return score(a) != score(b) ? score(a) > score(b) : a < b; };
  const std::size_t keep = options_.top_k == 0 ? order.size() : std::min(options_.top_k, order.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(keep), order.end(), better);
  std::vector<double> weights(keep);
  double total = 0;
  for (std::size_t i = 0; i < keep; ++i) {
    total += weights[i] =
        std::exp((static_cast<double>(score(order[i])) - score(order[0])) / options_.temperature);
  }
  std::size_t count = 0;
  double kept = 0;
  while (count < keep && (count == 0 || kept < options_.top_p * total)) kept += weights[count++];
  // Not a distribution of the standard library: those draw differently from one library to the next.
  double target = static_cast<double>(random_() >> 11) * 0x1p-53 * kept;
  for (std::size_t i = 0; i < count; ++i) {
    target -= weights[i];
    if (target < 0) return order[i];
  }
  return order[count - 1];
}

}  // namespace taesr
