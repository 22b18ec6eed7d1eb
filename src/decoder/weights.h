#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/gguf.h"
#include "kernels/cpu/blocks/packed_matrix.h"
#include "taesr/decoder.h"

namespace taesr {

/// One layer's weights, shared or not. Norms are gains [hidden].
struct DecoderLayer {
  std::vector<float> attention_norm;
  blocks::PackedMatrix query;   // [heads * head_dim, hidden]
  blocks::PackedMatrix key;     // [kv_heads * head_dim, hidden]
  blocks::PackedMatrix value;   // [kv_heads * head_dim, hidden]
  blocks::PackedMatrix output;  // [hidden, heads * head_dim]
  std::vector<float> mlp_norm;
  blocks::PackedMatrix gate;  // [intermediate, hidden]
  blocks::PackedMatrix up;    // [intermediate, hidden]
  blocks::PackedMatrix down;  // [hidden, intermediate]
};

/// All weights of a decoder. A shared layer is here once, however often it is applied.
struct DecoderWeights {
  blocks::PackedMatrix token;        // [vocabulary, hidden]; the output layer too where the two are tied
  std::vector<DecoderLayer> layers;  // by DecoderConfig::unique_layer
  std::vector<float> final_norm;
  std::optional<blocks::PackedMatrix> head;  // [vocabulary, hidden]; none where tied
  std::vector<float> routers;                // [recursions, hidden] with routing
  std::vector<float> router_bias;  // [recursions] with token choice: moves the choice, not the probability

  [[nodiscard]] const blocks::PackedMatrix& output_layer() const { return head ? *head : token; }
  /// Memory of all matrices.
  [[nodiscard]] std::size_t bytes() const;
};

// Throw FormatError that names the file and a missing, unknown or misshapen tensor or one with a value that
// is not finite.
[[nodiscard]] DecoderWeights load_decoder_weights(const DecoderConfig& config, WeightPrecision precision,
                                                  const GgufFile& file);
/// Names as transformers' LlamaForCausalLM has them, model.layers.N by unique layer; beside them
/// model.router.weight and, with token choice, model.router.bias. F32, F16 and BF16.
[[nodiscard]] DecoderWeights load_decoder_weights(const DecoderConfig& config, WeightPrecision precision,
                                                  const std::filesystem::path& safetensors);

/// The weights as Decoder::weights gives them.
[[nodiscard]] std::map<std::string, Matrix> export_weights(const DecoderConfig& config,
                                                           const DecoderWeights& weights);

/// Decoder::save; `blocks` as SaveDecoderOptions has them.
void save_gguf(const DecoderConfig& config, const DecoderWeights& weights, GgmlType type,
               const std::map<std::string, std::span<const std::byte>>& blocks, const GgufFile* tokenizer,
               const std::filesystem::path& path);

}  // namespace taesr
