#include "engine/loaded_model.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <utility>

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

/// Matrices to the engine's dtype; vectors (norms, biases of norms) follow, since ATen wants one dtype.
void convert(WeightMap& weights, Precision precision) {
  const auto dtype = precision == Precision::kBFloat16 ? at::kBFloat16 : at::kFloat;
  for (auto& [name, tensor] : weights) tensor = tensor.to(always_float32(name) ? at::kFloat : dtype);
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
  auto weights = load_weights(folder / kWeightsFile);
  precision = resolve(precision);
  convert(weights, precision);
  auto resolved = EncoderWeights::resolve(config, weights, "'" + (folder / kWeightsFile).string() + "'");
  auto inference = InferenceModel::create(config, resolved);
  if (inference) {
    resolved.entry.clear();
    resolved.shared.clear();
    resolved.refinement.clear();
    resolved.exit.clear();
  }
  return {folder,    std::move(config),    std::move(tokenizer),  precision, std::move(resolved),
          std::move(inference), fingerprint_of(folder)};
}

}  // namespace taesr
