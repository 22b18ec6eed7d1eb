#pragma once

#include <filesystem>

#include "model/weights.h"
#include "taesr/config.h"
#include "taesr/export.h"

namespace taesr {

inline constexpr const char* kConfigFile = "config.json";
inline constexpr const char* kWeightsFile = "model.safetensors";
inline constexpr const char* kTokenizerFile = "tokenizer.model";

/// Reads all weights of a safetensors file into memory of their own, in the file's dtypes. A token
/// table of int8 with `embeddings.token.scale` (float32, one a row) beside it becomes float32.
/// Throws IoError, or FormatError that names the file and the weight.
[[nodiscard]] TAESR_API WeightMap load_weights(const std::filesystem::path& path);

/// Writes contiguous CPU tensors as safetensors, atomically.
TAESR_API void save_weights(const std::filesystem::path& path, const WeightMap& weights);

/// Digest of a model folder's three files: equal for equal models, different otherwise.
[[nodiscard]] std::string fingerprint_of(const std::filesystem::path& folder);

}  // namespace taesr
