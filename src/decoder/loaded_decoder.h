#pragma once

#include <optional>

#include "decoder/byte_bpe.h"
#include "decoder/chat_template.h"
#include "decoder/weights.h"
#include "taesr/decoder.h"

namespace taesr {

/// All that a decoder's file holds; its texts and queues share it.
struct LoadedDecoder {
  std::filesystem::path path;  // of the file or folder
  DecoderConfig config;
  std::optional<DecoderWeights> weights;
  DecoderOptions options;
  std::optional<ByteBpe> tokenizer;
  std::optional<ChatTemplate> chat;

  /// Throws InvalidArgument where there is none.
  [[nodiscard]] const ByteBpe& need_tokenizer() const;
};

/// Decoder::load.
[[nodiscard]] std::shared_ptr<const LoadedDecoder> load_decoder(const std::filesystem::path& path,
                                                                const DecoderOptions& options);

}  // namespace taesr
