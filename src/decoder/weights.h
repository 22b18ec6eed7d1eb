#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "checkpoint/gguf.h"
#include "decoder/linear.h"
#include "taesr/decoder_config.h"

namespace taesr {

/// One layer's weights, shared or not. Norms are gains [hidden].
struct DecoderLayer {
  std::vector<float> attention_norm;
  std::unique_ptr<Linear> query;   // [heads * head_dim, hidden]
  std::unique_ptr<Linear> key;     // [kv_heads * head_dim, hidden]
  std::unique_ptr<Linear> value;   // [kv_heads * head_dim, hidden]
  std::unique_ptr<Linear> output;  // [hidden, heads * head_dim]
  std::vector<float> mlp_norm;
  std::unique_ptr<Linear> gate;  // [intermediate, hidden]
  std::unique_ptr<Linear> up;    // [intermediate, hidden]
  std::unique_ptr<Linear> down;  // [hidden, intermediate]
};

/// All weights of a decoder. A shared layer is here once, however often it is applied.
struct DecoderWeights {
  std::unique_ptr<Linear> token;  // [vocabulary, hidden]; the output layer too where the two are tied
  std::vector<DecoderLayer> layers;  // by DecoderConfig::unique_layer
  std::vector<float> final_norm;
  std::unique_ptr<Linear> head;  // [vocabulary, hidden]; none where tied

  [[nodiscard]] const Linear& output_layer() const { return head ? *head : *token; }
  /// Memory of all matrices.
  [[nodiscard]] std::size_t bytes() const;
};

// Throw FormatError that names the file and a missing, unknown or misshapen tensor.
[[nodiscard]] DecoderWeights load_decoder_weights(const DecoderConfig& config, const GgufFile& file);
/// Names as transformers' LlamaForCausalLM has them, model.layers.N by unique layer; F32, F16 and BF16.
[[nodiscard]] DecoderWeights load_decoder_weights(const DecoderConfig& config,
                                                  const std::filesystem::path& safetensors);

}  // namespace taesr
