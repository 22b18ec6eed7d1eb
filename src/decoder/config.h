#pragma once

#include <filesystem>
#include <span>

#include "checkpoint/gguf.h"
#include "taesr/decoder_config.h"

namespace taesr {

/// Throws FormatError, or InvalidArgument for sizes out of range; they name the file, the field and what is
/// allowed.
[[nodiscard]] DecoderConfig read_decoder_config(const GgufFile& file);

/// Reads a config.json of transformers' LlamaConfig; of ours beside its fields are `sharing`,
/// `recursions`, `routing`, `gate` and `gate_scale`. Throws IoError, FormatError, or InvalidArgument for
/// sizes out of range.
[[nodiscard]] DecoderConfig read_decoder_config(const std::filesystem::path& path);

/// Throws InvalidArgument for ids outside the vocabulary and for more tokens than the model has positions.
void check_tokens(const DecoderConfig& config, std::span<const int> tokens);

}  // namespace taesr
