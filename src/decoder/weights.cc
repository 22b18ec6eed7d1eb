#include "decoder/weights.h"

#include <cmath>
#include <cstring>
#include <functional>
#include <set>

#include "checkpoint/safetensors.h"
#include "decoder/weight_names.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

using blocks::PackedMatrix;
using Shape = std::vector<std::int64_t>;

/// A matrix as a file stores it, row after row.
struct StoredMatrix {
  GgmlType type = GgmlType::kF32;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  std::vector<std::byte> bytes;

  [[nodiscard]] std::size_t row_bytes() const {
    return static_cast<std::size_t>(columns) / values_per_block(type) * bytes_per_block(type);
  }

  [[nodiscard]] std::vector<float> values() const {
    std::vector<float> values(static_cast<std::size_t>(rows * columns));
    dequantise(type, bytes, values);
    return values;
  }
};

bool is_finite(const StoredMatrix& matrix) {
  float values[kGgmlBlock];
  const std::size_t size = bytes_per_block(matrix.type);
  for (std::size_t at = 0; at < matrix.bytes.size(); at += size) {
    dequantise(matrix.type, std::span(matrix.bytes).subspan(at, size),
               std::span(values, values_per_block(matrix.type)));
    for (std::size_t i = 0; i < values_per_block(matrix.type); ++i) {
      if (!std::isfinite(values[i])) return false;
    }
  }
  return true;
}

std::string to_text(const Shape& shape) {
  std::string text = "[";
  for (const std::int64_t extent : shape) text += (text.size() > 1 ? ", " : "") + std::to_string(extent);
  return text + "]";
}

/// A file of named tensors, whatever its format.
struct Source {
  std::string origin;
  WeightNames names;
  std::set<std::string> present;
  std::function<StoredMatrix(const std::string& name, const Shape& shape)> read;
  bool interleaved_heads = false;  // rows of a head's two rotary halves alternate
};

/// Rows of each head from a, b, a, b, ... to a, a, ..., b, b, ...: GGUF files have the two halves that rotate
/// together side by side.
StoredMatrix separate_halves(const StoredMatrix& from, std::int64_t head_dim) {
  StoredMatrix to = from;
  const std::size_t size = from.row_bytes();
  for (std::int64_t row = 0; row < from.rows; ++row) {
    const std::int64_t in_head = row % head_dim;
    const std::int64_t source = row - in_head + in_head % (head_dim / 2) * 2 + in_head / (head_dim / 2);
    std::memcpy(to.bytes.data() + static_cast<std::size_t>(row) * size,
                from.bytes.data() + static_cast<std::size_t>(source) * size, size);
  }
  return to;
}

/// Builds the weights from a source and notes which of its tensors were taken.
class Builder {
 public:
  Builder(const DecoderConfig& config, WeightPrecision precision, Source source)
      : config_(config), precision_(precision), source_(std::move(source)) {}

  DecoderWeights build() {
    const WeightNames& names = source_.names;
    DecoderWeights weights{.token = matrix(names.token, config_.vocab_size, config_.hidden_size)};
    for (std::int64_t i = 0; i < config_.unique_layers(); ++i) weights.layers.push_back(layer(i));
    weights.final_norm = numbers(names.final_norm, {config_.hidden_size});
    if (!config_.tied_embeddings) {
      weights.head.emplace(matrix(names.head, config_.vocab_size, config_.hidden_size));
    }
    if (config_.routing != Routing::kNone) {
      weights.routers = numbers(names.router, {config_.recursions, config_.hidden_size});
    }
    if (config_.routing == Routing::kTokenChoice) {
      weights.router_bias = numbers(names.router_bias, {config_.recursions});
    }
    refuse_unknown();
    return weights;
  }

 private:
  [[noreturn]] void fail(const std::string& reason) const {
    throw FormatError("'" + source_.origin + "': " + reason);
  }

  StoredMatrix read(const std::string& name, const Shape& shape) {
    if (!source_.present.contains(name)) fail("tensor '" + name + "' is missing");
    source_.present.erase(name);
    StoredMatrix stored = source_.read(name, shape);
    if (!is_finite(stored)) fail("tensor '" + name + "' holds a value that is not finite");
    return stored;
  }

  std::vector<float> numbers(const std::string& name, const Shape& shape) {
    return read(name, shape).values();
  }

  PackedMatrix matrix(const std::string& name, std::int64_t out, std::int64_t in, bool rotary = false) {
    StoredMatrix stored = read(name, {out, in});
    if (rotary && source_.interleaved_heads) stored = separate_halves(stored, config_.head_dim);
    if (precision_ == WeightPrecision::kStored || precision_ == WeightPrecision::kAuto) {
      return {stored.type, out, in, stored.bytes};
    }
    const std::vector<float> values = stored.values();
    if (precision_ == WeightPrecision::kBFloat16) {
      std::string rounded;
      quantise(GgmlType::kBF16, values, rounded);
      return {GgmlType::kBF16, out, in, std::as_bytes(std::span(rounded))};
    }
    return {GgmlType::kF32, out, in, std::as_bytes(std::span(values))};
  }

  DecoderLayer layer(std::int64_t index) {
    const WeightNames& names = source_.names;
    const std::string prefix = names.layer + std::to_string(index) + ".";
    const std::int64_t hidden = config_.hidden_size;
    const std::int64_t queries = config_.heads * config_.head_dim;
    const std::int64_t keys = config_.kv_heads * config_.head_dim;
    return {.attention_norm = numbers(prefix + names.attention_norm, {hidden}),
            .query = matrix(prefix + names.query, queries, hidden, true),
            .key = matrix(prefix + names.key, keys, hidden, true),
            .value = matrix(prefix + names.value, keys, hidden),
            .output = matrix(prefix + names.output, hidden, queries),
            .mlp_norm = numbers(prefix + names.mlp_norm, {hidden}),
            .gate = matrix(prefix + names.gate, config_.intermediate_size, hidden),
            .up = matrix(prefix + names.up, config_.intermediate_size, hidden),
            .down = matrix(prefix + names.down, hidden, config_.intermediate_size)};
  }

  /// A tensor that nothing reads would change the answers if it were read.
  void refuse_unknown() {
    if (config_.tied_embeddings) {
      source_.present.erase(source_.names.head);  // some writers store the table twice
    }
    if (!source_.present.empty()) {
      fail("tensor '" + source_.present.begin()->substr(0, 100) + "' is not one of this architecture");
    }
  }

  const DecoderConfig& config_;
  WeightPrecision precision_;
  Source source_;
};

[[noreturn]] void fail_shape(const std::string& origin, const std::string& name, const Shape& found,
                             const Shape& wanted) {
  throw FormatError("'" + origin + "': tensor '" + name + "' has shape " + to_text(found) +
                    "; its config needs " + to_text(wanted));
}

StoredMatrix empty_matrix(GgmlType type, const Shape& shape) {
  return {.type = type, .rows = shape.size() == 2 ? shape[0] : 1, .columns = shape.back(), .bytes = {}};
}

StoredMatrix to_stored(const std::string& origin, const std::string& name, const TensorView& view,
                       const Shape& shape) {
  if (view.shape != shape) fail_shape(origin, name, view.shape, shape);
  const auto stored_as = [&](GgmlType type) {
    StoredMatrix matrix = empty_matrix(type, shape);
    matrix.bytes.assign(view.bytes.begin(), view.bytes.end());
    return matrix;
  };
  if (view.dtype == DType::kFloat32) return stored_as(GgmlType::kF32);
  if (view.dtype == DType::kFloat16) return stored_as(GgmlType::kF16);
  if (view.dtype == DType::kBFloat16) return stored_as(GgmlType::kBF16);
  throw FormatError("'" + origin + "': tensor '" + name + "' is " + name_of(view.dtype) +
                    "; allowed: F32, F16, BF16");
}

}  // namespace

std::size_t DecoderWeights::bytes() const {
  std::size_t bytes = token.bytes() + (head ? head->bytes() : 0);
  for (const DecoderLayer& layer : layers) {
    for (const PackedMatrix* matrix :
         {&layer.query, &layer.key, &layer.value, &layer.output, &layer.gate, &layer.up, &layer.down}) {
      bytes += matrix->bytes();
    }
  }
  return bytes;
}

DecoderWeights load_decoder_weights(const DecoderConfig& config, WeightPrecision precision,
                                    const GgufFile& file) {
  Source source{.origin = file.origin(), .names = kGgufNames, .interleaved_heads = true};
  for (const auto& [name, tensor] : file.tensors()) source.present.insert(name);
  source.read = [&](const std::string& name, const Shape& shape) {
    const GgufTensor& tensor = file.tensors().at(name);
    if (tensor.shape != shape) fail_shape(file.origin(), name, tensor.shape, shape);
    StoredMatrix matrix = empty_matrix(tensor.type, shape);
    matrix.bytes.assign(tensor.bytes.begin(), tensor.bytes.end());
    return matrix;
  };
  return Builder(config, precision, std::move(source)).build();
}

DecoderWeights load_decoder_weights(const DecoderConfig& config, WeightPrecision precision,
                                    const std::filesystem::path& safetensors) {
  const SafetensorsFile file(safetensors);
  const std::string origin = safetensors.string();
  Source source{.origin = origin, .names = kLlamaNames};
  for (const auto& [name, tensor] : file.tensors()) source.present.insert(name);
  source.read = [&](const std::string& name, const Shape& shape) {
    return to_stored(origin, name, file.tensors().at(name), shape);
  };
  return Builder(config, precision, std::move(source)).build();
}

}  // namespace taesr
