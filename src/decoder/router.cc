#include "decoder/router.h"

#include <algorithm>
#include <cmath>

#include "decoder/vectors.h"

namespace taesr {

float Router::score(std::int64_t router, const float* state) const {
  return vectors::dot(weights_.routers.data() + router * config_.hidden_size, state, config_.hidden_size);
}

bool Router::passes(std::int64_t recursion, const float* state, Choice& choice) {
  switch (config_.routing) {
    case Routing::kNone: break;
    case Routing::kTokenChoice:
      if (recursion == 0) choice = choose_depth(state);
      return recursion <= choice.depth;
    case Routing::kExpertChoice: {
      const float z = score(recursion, state);
      choice.probability = 1.0F / (1.0F + std::exp(-z));
      return recursion == 0 || z >= 0;  // all pass the first one
    }
  }
  return true;
}

/// The softmax's most probable recursion, the last of equal ones, after the bias that balances them (Wang et
/// al. 2024, arXiv 2408.15664).
Router::Choice Router::choose_depth(const float* state) {
  for (std::size_t i = 0; i < scores_.size(); ++i) scores_[i] = score(static_cast<std::int64_t>(i), state);
  const float most = *std::max_element(scores_.begin(), scores_.end());
  float total = 0;
  for (float& value : scores_) total += value = std::exp(value - most);
  std::size_t best = 0;
  const auto biased = [&](std::size_t i) { return scores_[i] / total + weights_.router_bias[i]; };
  for (std::size_t i = 1; i < scores_.size(); ++i) best = biased(i) >= biased(best) ? i : best;
  return {.probability = scores_[best] / total, .depth = static_cast<std::int64_t>(best)};
}

void Router::merge(std::int64_t recursion, const Choice& choice, const float* result, float* state) const {
  const bool by_token = config_.routing == Routing::kTokenChoice;
  if (config_.routing == Routing::kNone || (by_token && choice.depth != recursion)) {
    std::copy_n(result, config_.hidden_size, state);  // it goes on; its gate is the last recursion's
    return;
  }
  const float whole = static_cast<float>(by_token ? config_.recursions : 2);
  const float preserving = std::min(1.0F, whole * choice.probability);
  const float scaled = static_cast<float>(config_.gate_scale) * choice.probability;
  for (std::int64_t i = 0; i < config_.hidden_size; ++i) {
    state[i] += config_.gate == Gate::kPreserving ? preserving * (result[i] - state[i]) : scaled * result[i];
  }
}

}  // namespace taesr
