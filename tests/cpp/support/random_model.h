#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>

#include "model/packed_layout.h"
#include "model/weights.h"
#include "taesr/config.h"

namespace taesr::testing {

/// The bundled model's arrangement of layers, with a refinement layer, at another size.
inline TAESRConfig small_config(int vocabulary, int hidden, int heads) {
  TAESRConfig config;
  config.vocab_size = vocabulary;
  config.hidden_size = hidden;
  config.intermediate_size = 2 * hidden;
  config.num_attention_heads = heads;
  config.max_position_embeddings = 64;
  config.refinement_layers = 1;
  config.embedding_size = hidden;
  config.matryoshka_dimensions = {hidden};
  return config;
}

/// Every weight of a model: matrices that keep the size of the states, gains around 1, nothing that is zero.
inline WeightMap random_weights(const TAESRConfig& config) {
  WeightMap weights;
  for (const auto& [name, shape] : weight_shapes(config)) {
    const bool matrix = shape.size() == 2 && name.find("embeddings") == std::string::npos;
    const bool gain = name.find("norm") != std::string::npos && name.ends_with("weight");
    const double spread = matrix ? 1 / std::sqrt(static_cast<double>(shape[1])) : 0.3;
    weights[name] = at::randn(shape) * spread + (gain ? 1.0 : 0.0);
  }
  return weights;
}

/// Sequences of any tokens and roles, so long.
inline PackedBatch random_batch(const TAESRConfig& config, const std::vector<std::int64_t>& lengths) {
  PackedBatch batch;
  batch.offsets = {0};
  for (const auto length : lengths) batch.offsets.push_back(batch.offsets.back() + length);
  batch.tokens = at::randint(config.vocab_size, {batch.offsets.back()}, at::kLong);
  batch.roles = at::randint(2, {batch.sequences()}, at::kLong);
  return batch;
}

/// Sequence `i` of a batch as a batch of its own.
inline PackedBatch alone(const PackedBatch& batch, std::int64_t i) {
  const auto begin = batch.offsets[static_cast<std::size_t>(i)];
  const auto length = batch.offsets[static_cast<std::size_t>(i) + 1] - begin;
  return {batch.tokens.narrow(0, begin, length), {0, length}, batch.roles.narrow(0, i, 1)};
}

}  // namespace taesr::testing
