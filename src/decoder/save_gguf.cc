#include <algorithm>
#include <cmath>
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

using Blocks = std::map<std::string, std::span<const std::byte>>;
using Name = const char* WeightNames::*;

/// Row of ours that a file has at `row`, where each head's two rotary halves alternate; head_dim 0: the same.
std::int64_t source_row(std::int64_t row, std::int64_t head_dim) {
  if (head_dim == 0) return row;
  const std::int64_t in_head = row % head_dim;
  return row - in_head + in_head / 2 + in_head % 2 * (head_dim / 2);
}

void check_blocks(const std::string& name, const blocks::PackedMatrix& matrix, GgmlType type,
                  std::span<const std::byte> given) {
  const std::size_t count = static_cast<std::size_t>(matrix.out * matrix.in) / values_per_block(type);
  if (given.size() != count * bytes_per_block(type)) {
    throw InvalidArgument("blocks of '" + name + "' have " + std::to_string(given.size()) + " bytes; [" +
                          std::to_string(matrix.out) + ", " + std::to_string(matrix.in) + "] in " +
                          name_of(type) + " takes " + std::to_string(count * bytes_per_block(type)));
  }
  std::vector<float> values(count * values_per_block(type));
  dequantise(type, given, values);
  if (!std::ranges::all_of(values, [](float value) { return std::isfinite(value); })) {
    throw InvalidArgument("blocks of '" + name + "' hold a value that is not finite");
  }
}

/// Writes the weights under their names in GGUF files.
class WeightWriter {
 public:
  WeightWriter(GgmlType type, const Blocks& blocks, GgufWriter& writer)
      : type_(type), blocks_(blocks), writer_(writer) {}

  /// Names of this layer's weights come next.
  void begin_layer(std::size_t layer) {
    file_prefix_ = kGgufNames.layer + std::to_string(layer) + ".";
    our_prefix_ = kLlamaNames.layer + std::to_string(layer) + ".";
  }

  void add(Name name, const std::vector<float>& values, std::int64_t rows = 0) {
    if (values.empty()) return;
    const auto size = static_cast<std::int64_t>(values.size());
    writer_.add_tensor(in_file(name), rows, rows == 0 ? size : size / rows, GgmlType::kF32, values);
  }

  void add(Name name, const blocks::PackedMatrix& matrix, std::int64_t head_dim = 0) {
    if (const auto given = blocks_.extract(our_prefix_ + kLlamaNames.*name)) {
      check_blocks(given.key(), matrix, type_, given.mapped());
      return add_blocks(name, matrix, head_dim, given.mapped());
    }
    std::vector<float> values(static_cast<std::size_t>(matrix.out * matrix.in));
    for (std::int64_t row = 0; row < matrix.out; ++row) {
      matrix.read_row(source_row(row, head_dim), values.data() + row * matrix.in);
    }
    writer_.add_tensor(in_file(name), matrix.out, matrix.in, type_, values);
  }

  /// Throws InvalidArgument for blocks that were given and belong to no matrix.
  void refuse_unknown() const {
    if (blocks_.empty()) return;
    throw InvalidArgument("blocks of '" + blocks_.begin()->first.substr(0, 100) +
                          "' are of no matrix of this model");
  }

 private:
  [[nodiscard]] std::string in_file(Name name) const { return file_prefix_ + kGgufNames.*name; }

  void add_blocks(Name name, const blocks::PackedMatrix& matrix, std::int64_t head_dim,
                  std::span<const std::byte> given) {
    const std::size_t size = given.size() / static_cast<std::size_t>(matrix.out);
    std::vector<std::byte> rows(given.size());
    for (std::int64_t row = 0; row < matrix.out; ++row) {
      std::memcpy(rows.data() + static_cast<std::size_t>(row) * size,
                  given.data() + static_cast<std::size_t>(source_row(row, head_dim)) * size, size);
    }
    writer_.add_blocks(in_file(name), matrix.out, matrix.in, type_, rows);
  }

  GgmlType type_;
  Blocks blocks_;  // those that are not written yet
  GgufWriter& writer_;
  std::string file_prefix_;
  std::string our_prefix_;
};

}  // namespace

void save_gguf(const DecoderConfig& config, const DecoderWeights& weights, GgmlType type,
               const Blocks& blocks, const GgufFile* tokenizer, const std::filesystem::path& path) {
  GgufWriter file;
  add_config(config, file);
  if (tokenizer != nullptr) add_tokenizer(config, *tokenizer, file);
  WeightWriter writer(type, blocks, file);
  writer.add(&WeightNames::token, weights.token);
  writer.add(&WeightNames::final_norm, weights.final_norm);
  if (weights.head) writer.add(&WeightNames::head, *weights.head);
  writer.add(&WeightNames::router, weights.routers, config.recursions);
  writer.add(&WeightNames::router_bias, weights.router_bias);
  for (std::size_t i = 0; i < weights.layers.size(); ++i) {
    const DecoderLayer& layer = weights.layers[i];
    writer.begin_layer(i);
    writer.add(&WeightNames::attention_norm, layer.attention_norm);
    writer.add(&WeightNames::query, layer.query, config.head_dim);
    writer.add(&WeightNames::key, layer.key, config.head_dim);
    writer.add(&WeightNames::value, layer.value);
    writer.add(&WeightNames::output, layer.output);
    writer.add(&WeightNames::mlp_norm, layer.mlp_norm);
    writer.add(&WeightNames::gate, layer.gate);
    writer.add(&WeightNames::up, layer.up);
    writer.add(&WeightNames::down, layer.down);
  }
  writer.refuse_unknown();
  file.write(path);
}

}  // namespace taesr
