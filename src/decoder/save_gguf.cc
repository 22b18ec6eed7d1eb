#include <cstring>

#include "checkpoint/gguf_writer.h"
#include "decoder/config.h"
#include "decoder/weight_names.h"
#include "decoder/weights.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

constexpr std::string_view kTokenizerPrefix = "tokenizer.";
constexpr const char* kTokens = "tokenizer.ggml.tokens";

void add_config(const DecoderConfig& config, GgufWriter& writer) {
  writer.add("general.architecture", "llama");
  writer.add_integer("llama.vocab_size", config.vocab_size);
  writer.add_integer("llama.embedding_length", config.hidden_size);
  writer.add_integer("llama.feed_forward_length", config.intermediate_size);
  writer.add_integer("llama.block_count", config.layers);
  writer.add_integer("llama.attention.head_count", config.heads);
  writer.add_integer("llama.attention.head_count_kv", config.kv_heads);
  writer.add_integer("llama.attention.key_length", config.head_dim);
  writer.add_integer("llama.attention.value_length", config.head_dim);
  writer.add_integer("llama.rope.dimension_count", config.head_dim);
  writer.add_integer("llama.context_length", config.max_positions);
  writer.add("llama.attention.layer_norm_rms_epsilon", config.norm_eps);
  writer.add("llama.rope.freq_base", config.rope_theta);
  if (config.sharing == LayerSharing::kNone) return;
  writer.add(kGgufSharing, name_of(config.sharing));
  writer.add_integer(kGgufRecursions, config.recursions);
  writer.add(kGgufRouting, name_of(config.routing));
  writer.add(kGgufGate, name_of(config.gate));
  writer.add(kGgufGateScale, config.gate_scale);
}

void add_tokenizer(const DecoderConfig& config, const GgufFile& file, GgufWriter& writer) {
  const auto size = static_cast<std::int64_t>(file.texts(kTokens).size());
  if (size != config.vocab_size) {
    throw InvalidArgument("the tokenizer of '" + file.origin() + "' has " + std::to_string(size) +
                          " tokens; the model has " + std::to_string(config.vocab_size));
  }
  for (const auto& [key, value] : file.metadata()) {
    if (key.starts_with(kTokenizerPrefix)) writer.copy(key, value);
  }
}

/// Writes the weights under their names in GGUF files.
class WeightWriter {
 public:
  WeightWriter(GgmlType type, GgufWriter& writer) : type_(type), writer_(writer) {}

  void add(const std::string& name, const std::vector<float>& values, std::int64_t rows = 0) {
    if (values.empty()) return;
    const auto size = static_cast<std::int64_t>(values.size());
    writer_.add_tensor(name, rows, rows == 0 ? size : size / rows, GgmlType::kF32, values);
  }

  /// With `head_dim` each head's two rotary halves alternate in the file.
  void add(const std::string& name, const blocks::PackedMatrix& matrix, std::int64_t head_dim = 0) {
    std::vector<float> values(static_cast<std::size_t>(matrix.out * matrix.in));
    for (std::int64_t row = 0; row < matrix.out; ++row) {
      const std::int64_t in_head = head_dim == 0 ? 0 : row % head_dim;
      const std::int64_t source = row - in_head + in_head / 2 + in_head % 2 * (head_dim / 2);
      matrix.read_row(source, values.data() + row * matrix.in);
    }
    writer_.add_tensor(name, matrix.out, matrix.in, type_, values);
  }

 private:
  GgmlType type_;
  GgufWriter& writer_;
};

}  // namespace

void save_gguf(const DecoderConfig& config, const DecoderWeights& weights, GgmlType type,
               const GgufFile* tokenizer, const std::filesystem::path& path) {
  GgufWriter file;
  add_config(config, file);
  if (tokenizer != nullptr) add_tokenizer(config, *tokenizer, file);
  WeightWriter writer(type, file);
  const WeightNames& names = kGgufNames;
  writer.add(names.token, weights.token);
  writer.add(names.final_norm, weights.final_norm);
  if (weights.head) writer.add(names.head, *weights.head);
  writer.add(names.router, weights.routers, config.recursions);
  writer.add(names.router_bias, weights.router_bias);
  for (std::size_t i = 0; i < weights.layers.size(); ++i) {
    const DecoderLayer& layer = weights.layers[i];
    const std::string prefix = names.layer + std::to_string(i) + ".";
    writer.add(prefix + names.attention_norm, layer.attention_norm);
    writer.add(prefix + names.query, layer.query, config.head_dim);
    writer.add(prefix + names.key, layer.key, config.head_dim);
    writer.add(prefix + names.value, layer.value);
    writer.add(prefix + names.output, layer.output);
    writer.add(prefix + names.mlp_norm, layer.mlp_norm);
    writer.add(prefix + names.gate, layer.gate);
    writer.add(prefix + names.up, layer.up);
    writer.add(prefix + names.down, layer.down);
  }
  file.write(path);
}

}  // namespace taesr
