#include "engine/loaded_model.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <utility>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

#include "core/cpu.h"
#include "model/model_folder.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

Precision resolve(Precision wanted) {
  if (wanted != Precision::kAuto) return wanted;
  return cpu_multiplies_bfloat16() ? Precision::kBFloat16 : Precision::kFloat32;
}

/// Pooling and what reads pooled or single states is float32 in every precision; so are tables of weights.
bool always_float32(std::string_view name) {
  constexpr std::array<std::string_view, 7> kPrefixes = {"head.",       "late.",      "router.",  "subspace.",
                                                         "sparse.norm", "sparse.bias", "sparse.idf"};
  return std::any_of(kPrefixes.begin(), kPrefixes.end(), [&](std::string_view prefix) { return name.starts_with(prefix); });
}

/// Matrices to `dtype`; without one they stay as stored. Vectors (norms, biases of norms) follow, since ATen wants
/// one dtype.
void convert(WeightMap& weights, std::optional<at::ScalarType> dtype) {
  for (auto& [name, tensor] : weights) {
    tensor = tensor.to(always_float32(name) ? at::kFloat : dtype.value_or(tensor.scalar_type()));
  }
}

/// What an inference model has packed is not kept beside it.
void drop_layers(EncoderWeights& weights) {
  weights.entry.clear();
  weights.shared.clear();
  weights.refinement.clear();
  weights.exit.clear();
}

/// The inference model in int8 and the weights that it has not packed.
std::unique_ptr<const InferenceModel> pack_int8(const TAESRConfig& config, EncoderWeights& weights) {
  auto inference = InferenceModel::create_int8(config, weights);
  drop_layers(weights);
  if (weights.sparse) {  // it multiplies states with its transform and with the token table
    for (at::Tensor* tensor : {&weights.sparse->transform.weight, &weights.sparse->transform.bias, &weights.token}) {
      *tensor = tensor->to(inference->dtype());
    }
  } else {
    weights.token.reset();
  }
  return inference;
}

std::unique_ptr<const InferenceModel> pack(const TAESRConfig& config, EncoderWeights& weights, Precision precision) {
  if (precision == Precision::kInt8) return pack_int8(config, weights);
  auto inference = InferenceModel::create(config, weights);
  if (inference) drop_layers(weights);
  return inference;
}

std::optional<at::ScalarType> dtype_of(Precision precision) {
  if (precision == Precision::kInt8) return {};
  return precision == Precision::kBFloat16 ? at::kBFloat16 : at::kFloat;
}

/// Loading takes several times the memory that stays; the C library would keep it for later.
void return_free_memory() {
#if defined(__GLIBC__)
  ::malloc_trim(0);
#endif
}

}  // namespace

LoadedModel load_model(const std::filesystem::path& folder, Precision precision) {
  if (!std::filesystem::is_directory(folder)) {
    throw IoError("'" + folder.string() + "' is not a model folder; it should hold " + kConfigFile + ", " + kWeightsFile +
                  " and " + kTokenizerFile);
  }
  auto config = TAESRConfig::from_file(folder / kConfigFile);
  auto tokenizer = Tokenizer::load(folder / kTokenizerFile);
  if (tokenizer.size() != static_cast<std::size_t>(config.vocab_size)) {
    throw FormatError("'" + folder.string() + "': the tokenizer has " + std::to_string(tokenizer.size()) +
                      " pieces, the config asks for " + std::to_string(config.vocab_size));
  }
  precision = resolve(precision);
  auto weights = load_weights(folder / kWeightsFile);
  convert(weights, dtype_of(precision));
  auto resolved = EncoderWeights::resolve(config, weights, "'" + (folder / kWeightsFile).string() + "'");
  auto inference = pack(config, resolved, precision);
  weights.clear();
  return_free_memory();
  return {folder,    std::move(config),    std::move(tokenizer),  precision, std::move(resolved),
          std::move(inference), fingerprint_of(folder)};
}

}  // namespace taesr
