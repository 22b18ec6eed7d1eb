#pragma once

#include <span>

#include "checkpoint/gguf.h"
#include "taesr/decoder_config.h"

namespace taesr {

/// Throws FormatError, or InvalidArgument for sizes out of range; they name the file, the field and what is
/// allowed.
[[nodiscard]] DecoderConfig read_decoder_config(const GgufFile& file);

/// Throws InvalidArgument for ids outside the vocabulary and for more tokens than the model has positions.
void check_tokens(const DecoderConfig& config, std::span<const int> tokens);

}  // namespace taesr
