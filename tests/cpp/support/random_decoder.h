#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "checkpoint/safetensors.h"
#include "taesr/decoder_config.h"

namespace taesr::testing {

inline DecoderConfig small_decoder(LayerSharing sharing = LayerSharing::kNone, std::int64_t layers = 3,
                                   std::int64_t recursions = 1) {
  return {.vocab_size = 40,
          .hidden_size = 16,
          .intermediate_size = 24,
          .layers = layers,
          .heads = 4,
          .kv_heads = 2,
          .head_dim = 4,
          .max_positions = 64,
          .sharing = sharing,
          .recursions = recursions};
}

using Floats = std::map<std::string, std::pair<std::vector<std::int64_t>, std::vector<float>>>;

/// Random weights by their names in transformers; layers numbered by unique layer.
inline Floats random_decoder_weights(const DecoderConfig& config, unsigned seed = 1) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 0.3F);
  Floats weights;
  const auto add = [&](const std::string& name, std::vector<std::int64_t> shape) {
    std::size_t count = 1;
    for (const auto extent : shape) count *= static_cast<std::size_t>(extent);
    std::vector<float> values(count);
    for (float& value : values) value = (shape.size() == 1 ? 1 : 0) + normal(random);
    weights[name] = {shape, values};
  };
  const auto& c = config;
  add("model.embed_tokens.weight", {c.vocab_size, c.hidden_size});
  add("model.norm.weight", {c.hidden_size});
  if (c.routing != Routing::kNone) add("model.router.weight", {c.recursions, c.hidden_size});
  if (c.routing == Routing::kTokenChoice) add("model.router.bias", {c.recursions});
  for (std::int64_t i = 0; i < c.unique_layers(); ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    add(layer + "input_layernorm.weight", {c.hidden_size});
    add(layer + "self_attn.q_proj.weight", {c.heads * c.head_dim, c.hidden_size});
    add(layer + "self_attn.k_proj.weight", {c.kv_heads * c.head_dim, c.hidden_size});
    add(layer + "self_attn.v_proj.weight", {c.kv_heads * c.head_dim, c.hidden_size});
    add(layer + "self_attn.o_proj.weight", {c.hidden_size, c.heads * c.head_dim});
    add(layer + "post_attention_layernorm.weight", {c.hidden_size});
    add(layer + "mlp.gate_proj.weight", {c.intermediate_size, c.hidden_size});
    add(layer + "mlp.up_proj.weight", {c.intermediate_size, c.hidden_size});
    add(layer + "mlp.down_proj.weight", {c.hidden_size, c.intermediate_size});
  }
  return weights;
}

inline void save(const Floats& weights, const std::filesystem::path& path) {
  std::map<std::string, TensorView> views;
  for (const auto& [name, tensor] : weights) {
    views[name] = {DType::kFloat32, tensor.first, std::as_bytes(std::span(tensor.second))};
  }
  write_safetensors(path, views);
}

}  // namespace taesr::testing
