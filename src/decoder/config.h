#pragma once

#include <span>

#include "checkpoint/gguf.h"
#include "taesr/decoder_config.h"

namespace taesr {

// Metadata of a GGUF file that say which layers are shared and who is routed; absent where none is.
inline constexpr const char* kGgufSharing = "taesr.sharing";
inline constexpr const char* kGgufRecursions = "taesr.recursions";
inline constexpr const char* kGgufRouting = "taesr.routing";
inline constexpr const char* kGgufGate = "taesr.gate";
inline constexpr const char* kGgufGateScale = "taesr.gate_scale";

/// Throws FormatError, or InvalidArgument for sizes out of range; they name the file, the field and what is
/// allowed.
[[nodiscard]] DecoderConfig read_decoder_config(const GgufFile& file);

/// Throws InvalidArgument for ids outside the vocabulary and for more tokens than the model has positions.
void check_tokens(const DecoderConfig& config, std::span<const int> tokens);

}  // namespace taesr
