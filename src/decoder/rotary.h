#pragma once

#include <cmath>
#include <cstdint>
#include <vector>

#include "taesr/decoder_config.h"

namespace taesr {

/// Angles between neighbouring positions, by pairs of a head's values (Su et al. 2021, arXiv 2104.09864). As
/// the reference has them, in float32: at far positions their rounding is part of the model.
[[nodiscard]] inline std::vector<float> rotary_frequencies(const DecoderConfig& config) {
  std::vector<float> frequencies;
  for (std::int64_t i = 0; i < config.head_dim / 2; ++i) {
    const auto exponent = static_cast<float>(2 * i) / static_cast<float>(config.head_dim);
    frequencies.push_back(1.0F / std::pow(static_cast<float>(config.rope_theta), exponent));
  }
  return frequencies;
}

}  // namespace taesr
