#pragma once

#include <filesystem>

#include "checkpoint/gguf.h"
#include "taesr/decoder_config.h"

namespace taesr {

/// Throws FormatError that names the file, the metadata and the allowed range.
[[nodiscard]] DecoderConfig read_decoder_config(const GgufFile& file);

/// Reads a config.json of transformers' LlamaConfig; of ours beside its fields are `sharing` and `recursions`.
/// Throws IoError or FormatError.
[[nodiscard]] DecoderConfig read_decoder_config(const std::filesystem::path& path);

}  // namespace taesr
