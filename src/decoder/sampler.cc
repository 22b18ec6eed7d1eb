#include "decoder/sampler.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "decoder/vectors.h"
#include "kernels/decode_row.h"
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

/// Best scores that are worth finding apart from the others.
constexpr std::size_t kMostBest = kMostTop;

[[noreturn]] void throw_damaged() {
  throw Error(
      "the decoder computed scores that are not numbers; its weights are damaged: get the file again");
}

/// Tokens among which top_p usually finds its fewest.
constexpr std::size_t kFewTokens = 128;

/// The `count` best tokens, best first; of equal ones the first.
std::vector<int> best_tokens(std::span<const float> logits, std::size_t count) {
  constexpr std::size_t kPart = vectors::kPart;
  std::vector<float> largest((logits.size() + kPart - 1) / kPart);
  vectors::find_maxima(logits.data(), static_cast<std::int64_t>(logits.size()), largest.data());
  float least = -std::numeric_limits<float>::infinity();  // so many tokens have at least
  if (count < largest.size()) {
    std::vector<float> best = largest;
    const auto last = best.begin() + static_cast<std::ptrdiff_t>(count - 1);
    std::nth_element(best.begin(), last, best.end(), std::greater());
    least = *last;
  }
  std::vector<int> tokens;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    if (i % kPart == 0 && largest[i / kPart] < least) {
      i += kPart - 1;
    } else if (logits[i] >= least) {
      tokens.push_back(static_cast<int>(i));
    }
  }
  const auto score = [&](int token) { return logits[static_cast<std::size_t>(token)]; };
  const auto better = [&](int a, int b) { return score(a) != score(b) ? score(a) > score(b) : a < b; };
  const auto kept = static_cast<std::ptrdiff_t>(std::min(count, tokens.size()));
  std::partial_sort(tokens.begin(), tokens.begin() + kept, tokens.end(), better);
  tokens.resize(static_cast<std::size_t>(kept));
  return tokens;
}

}  // namespace

void check_options(const GenerateOptions& options, std::int64_t vocab_size) {
  if (options.max_tokens < 1) throw InvalidArgument("max_tokens is 0; it must be at least 1");
  check("temperature", options.temperature, 0, 100);
  check("top_p", options.top_p, 1e-6, 1);
  check("repetition_penalty", options.repetition_penalty, 0.01, 100);
  for (const auto& [token, bias] : options.logit_bias) {
    if (token < 0 || token >= vocab_size) {
      throw InvalidArgument("logit_bias has token " + std::to_string(token) +
                            "; allowed: 0 to " + std::to_string(vocab_size - 1));
    }
    check(("logit_bias of token " + std::to_string(token)).c_str(), bias, -1000, 1000);
  }
  for (const std::string& stop : options.stop) {
    if (stop.empty()) {
      throw InvalidArgument("stop holds an empty text, which would stop at once; leave it out");
    }
  }
}

int Sampler::choose(std::span<float> logits, std::span<const int> before) {
  for (const auto& [token, bias] : options_.logit_bias) {
    logits[static_cast<std::size_t>(token)] += static_cast<float>(bias);
  }
  if (options_.repetition_penalty != 1) {
    penalise(logits, before, static_cast<float>(options_.repetition_penalty));
  }
  const std::int64_t best = vectors::find_largest(logits.data(), static_cast<std::int64_t>(logits.size()));
  if (best < 0) throw_damaged();
  if (options_.temperature == 0 || options_.top_k == 1) return static_cast<int>(best);
  return draw(logits, logits[static_cast<std::size_t>(best)]);
}

std::size_t Sampler::enough() const {
  if (options_.repetition_penalty != 1 || !options_.logit_bias.empty()) return 0;
  if (options_.temperature == 0) return 1;
  return options_.top_k <= kMostBest ? options_.top_k : 0;
}

int Sampler::choose(std::span<const ScoredToken> best) {
  if (best.front().token < 0 || !std::isfinite(best.front().score)) throw_damaged();
  if (options_.temperature == 0) return best.front().token;
  best = best.first(std::min(best.size(), options_.top_k));
  weights_.clear();
  const auto most = static_cast<double>(best.front().score);
  for (const ScoredToken& scored : best) {
    weights_.push_back(std::exp((scored.score - most) / options_.temperature));
  }
  const double enough = options_.top_p * std::accumulate(weights_.begin(), weights_.end(), 0.0);
  double kept = 0;
  std::size_t count = 0;
  while (count < weights_.size() && (count == 0 || kept < enough)) kept += weights_[count++];
  weights_.resize(count);
  return best[draw_index(kept)].token;
}

/// Keeps the top_k best, then the fewest of them that together have the probability top_p (Holtzman et al.
/// 2020, arXiv 1904.09751).
int Sampler::draw(std::span<const float> logits, float most) {
  const auto weight = [&](float score) {
    return std::exp((static_cast<double>(score) - most) / options_.temperature);
  };
  if (options_.top_k == 0) {
    weights_.resize(logits.size());
    std::transform(logits.begin(), logits.end(), weights_.begin(), weight);
    const double total = std::accumulate(weights_.begin(), weights_.end(), 0.0);
    if (options_.top_p == 1) return static_cast<int>(draw_index(total));
    return draw_best(logits, weight, options_.top_p * total);
  }
  order_ = best_tokens(logits, options_.top_k);
  double total = 0;
  for (const int token : order_) total += weight(logits[static_cast<std::size_t>(token)]);
  return draw_best(logits, weight, options_.top_p * total);
}

/// Draws from the fewest of the best tokens whose weights come to `enough`.
template <class Weight>
int Sampler::draw_best(std::span<const float> logits, const Weight& weight, double enough) {
  double kept = 0;
  for (std::size_t count = kFewTokens;; count *= 8) {
    if (options_.top_k == 0) order_ = best_tokens(logits, count);
    weights_.clear();
    kept = 0;
    for (std::size_t i = 0; i < order_.size() && (i == 0 || kept < enough); ++i) {
      weights_.push_back(weight(logits[static_cast<std::size_t>(order_[i])]));
      kept += weights_.back();
    }
    if (kept >= enough || order_.size() == logits.size() || options_.top_k > 0) break;
  }
  return order_[draw_index(kept)];
}

/// Draws with the probabilities of weights_, which come to `total`.
std::size_t Sampler::draw_index(double total) {
  // Not a distribution of the standard library: those draw differently from one library to the next.
  double target = static_cast<double>(random_() >> 11) * 0x1p-53 * total;
  for (std::size_t i = 0; i < weights_.size(); ++i) {
    target -= weights_[i];
    if (target < 0) return i;
  }
  return weights_.size() - 1;
}

}  // namespace taesr
