#pragma once

#include <optional>

#include "decoder/byte_bpe.h"
#include "decoder/chat_template.h"
#include "decoder/weights.h"
#include "taesr/decoder.h"

namespace taesr {

struct Decoder::Impl {
  DecoderConfig config;
  std::optional<DecoderWeights> weights;
  DecoderOptions options;
  std::optional<ByteBpe> tokenizer;
  std::optional<ChatTemplate> chat;

  /// Throws InvalidArgument where there is none.
  [[nodiscard]] const ByteBpe& need_tokenizer() const;
};

}  // namespace taesr
