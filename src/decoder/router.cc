#include "decoder/router.h"

#include <algorithm>
#include <cmath>

#include "decoder/vectors.h"

namespace taesr {

float Router::score(std::int64_t router, const float* state) const {
  return vectors::dot(weights_.routers.data() + router * config_.hidden_size, state, config_.hidden_size);
}

void Router::choose(std::int64_t recursion, const std::vector<float>& states,
                    std::vector<std::int64_t>& tokens) {
  if (recursion == 0) probability_.resize(tokens.size());
  if (config_.routing == Routing::kTokenChoice) {
    if (recursion == 0) choose_depths(states, tokens.size());
    std::erase_if(tokens,
                  [&](std::int64_t token) { return depth_[static_cast<std::size_t>(token)] < recursion; });
    return;
  }
  std::erase_if(tokens, [&](std::int64_t token) {
    const float z = score(recursion, states.data() + token * config_.hidden_size);
    probability_[static_cast<std::size_t>(token)] = 1.0F / (1.0F + std::exp(-z));
    return recursion > 0 && !(z >= 0);  // all pass the first one
  });
}

/// The softmax's most probable recursion of each token, the last of equal ones, after the bias that balances
/// them (Wang et al. 2024, arXiv 2408.15664).
void Router::choose_depths(const std::vector<float>& states, std::size_t tokens) {
  depth_.resize(tokens);
  std::vector<float> scores(static_cast<std::size_t>(config_.recursions));
  for (std::size_t token = 0; token < tokens; ++token) {
    const float* const state = states.data() + static_cast<std::int64_t>(token) * config_.hidden_size;
    for (std::size_t i = 0; i < scores.size(); ++i) scores[i] = score(static_cast<std::int64_t>(i), state);
    const float most = *std::max_element(scores.begin(), scores.end());
    float total = 0;
    for (float& value : scores) total += value = std::exp(value - most);
    std::size_t best = 0;
    const auto biased = [&](std::size_t i) { return scores[i] / total + weights_.router_bias[i]; };
    for (std::size_t i = 1; i < scores.size(); ++i) best = biased(i) >= biased(best) ? i : best;
    depth_[token] = static_cast<std::int64_t>(best);
    probability_[token] = scores[best] / total;
  }
}

void Router::merge(std::int64_t recursion, std::int64_t token, const float* result, float* state) const {
  const bool by_token = config_.routing == Routing::kTokenChoice;
  if (by_token && depth_[static_cast<std::size_t>(token)] != recursion) {
    std::copy_n(result, config_.hidden_size, state);  // it goes on; its gate is the last recursion's
    return;
  }
  const float probability = probability_[static_cast<std::size_t>(token)];
  const float whole = static_cast<float>(by_token ? config_.recursions : 2);
  const float preserving = std::min(1.0F, whole * probability);
  const float scaled = static_cast<float>(config_.gate_scale) * probability;
  for (std::int64_t i = 0; i < config_.hidden_size; ++i) {
    state[i] += config_.gate == Gate::kPreserving ? preserving * (result[i] - state[i]) : scaled * result[i];
  }
}

}  // namespace taesr
