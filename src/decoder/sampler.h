#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "decoder/forward.h"
#include "taesr/decoder.h"

namespace taesr {

/// Throws InvalidArgument that names the option and its allowed range.
void check_options(const GenerateOptions& options, std::int64_t vocab_size);

/// Chooses tokens. What it draws depends on the seed and on the scores alone.
class Sampler {
 public:
  explicit Sampler(const GenerateOptions& options) : options_(options), random_(options.seed) {}

  /// The next token by scores [vocab_size], which are changed. `before` are the tokens that
  /// repetition_penalty counts. Throws Error for scores that are not numbers: the model's weights are
  /// damaged.
  [[nodiscard]] int choose(std::span<float> logits, std::span<const int> before);
  /// The same by the best scores, best first: as many as enough() says, or more.
  [[nodiscard]] int choose(std::span<const ScoredToken> best);
  /// How many of the best scores choose() needs; 0: all.
  [[nodiscard]] std::size_t enough() const;

 private:
  [[nodiscard]] int draw(std::span<const float> logits, float most);
  template <class Weight>
  [[nodiscard]] int draw_best(std::span<const float> logits, const Weight& weight, double enough);
  [[nodiscard]] std::size_t draw_index(double total);

  GenerateOptions options_;
  std::mt19937_64 random_;
  std::vector<int> order_;       // tokens to draw from, best first
  std::vector<double> weights_;  // of what is drawn from
};

}  // namespace taesr
