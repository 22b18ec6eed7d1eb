#pragma once

#include <optional>

#include "decoder/byte_bpe.h"
#include "decoder/chat_template.h"
#include "decoder/device/device_decoder.h"
#include "decoder/forward.h"
#include "decoder/weights.h"
#include "taesr/decoder.h"

namespace taesr {

/// All that a decoder's file holds; its texts and queues share it.
struct LoadedDecoder {
  std::filesystem::path path;  // of the file or folder
  DecoderConfig config;
  std::optional<DecoderWeights> weights;
  std::shared_ptr<DeviceDecoder> device;  // where it computes on a GPU
  DecoderOptions options;
  std::optional<ByteBpe> tokenizer;
  std::optional<ChatTemplate> chat;

  // Both need the decoder; a cache is for passes of the same one.
  [[nodiscard]] std::unique_ptr<ForwardPass> make_pass() const;
  [[nodiscard]] std::unique_ptr<KvCache> make_cache() const;
  /// Throws InvalidArgument where there is none.
  [[nodiscard]] const ByteBpe& need_tokenizer() const;
};

/// A decoder as its file has it, on the CPU, in the precision that `options` name there.
[[nodiscard]] std::shared_ptr<LoadedDecoder> read_decoder(const std::filesystem::path& path,
                                                          const DecoderOptions& options);

/// Decoder::load.
[[nodiscard]] std::shared_ptr<const LoadedDecoder> load_decoder(const std::filesystem::path& path,
                                                                const DecoderOptions& options);

}  // namespace taesr
