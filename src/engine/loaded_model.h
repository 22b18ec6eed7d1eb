#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "engine/inference/inference_model.h"
#include "model/weights.h"
#include "taesr/encoder.h"

namespace taesr {

/// A model folder in memory, its weights in the dtypes that the engine computes in.
struct LoadedModel {
  std::filesystem::path source;
  TAESRConfig config;
  Tokenizer tokenizer;
  Precision precision;  // never kAuto
  EncoderWeights weights;  // without the layers where `inference` has them, and in int8 the token table
  std::unique_ptr<const InferenceModel> inference;  // null: model/forward.h computes
  std::string fingerprint;
};

/// Throws IoError for missing files and FormatError or InvalidArgument for damaged ones.
[[nodiscard]] LoadedModel load_model(const std::filesystem::path& folder, Precision precision);

}  // namespace taesr
