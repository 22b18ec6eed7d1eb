#pragma once

#include <memory>

#include "decoder/loaded_decoder.h"
#include "support/files.h"
#include "support/small_gguf_decoder.h"
#include "support/temporary_directory.h"
#include "taesr/decoder.h"

namespace taesr::testing {

/// Writes a file of random weights with two recursions whose routers send some tokens each way, and the
/// small tokenizer. Scores are `scale` times what they would be.
inline std::filesystem::path write_routed_gguf(const TemporaryDirectory& folder, Routing routing,
                                               float scale = 1) {
  write_bytes(folder / "plain.gguf", small_gguf_decoder());
  DecoderConfig config = small_decoder(LayerSharing::kMiddleCycle, 6, 2);
  config.vocab_size = 256 + static_cast<std::int64_t>(kMerges.size()) + 2;
  config.routing = routing;
  config.gate = Gate::kPreserving;
  Floats values = random_decoder_weights(config, 9);
  for (float& gain : values["model.norm.weight"].second) gain *= scale;
  save(values, folder / "weights");
  const GgufFile tokenizer(folder / "plain.gguf");
  save_gguf(config, load_decoder_weights(config, WeightPrecision::kStored, folder / "weights"),
            GgmlType::kF32, &tokenizer, folder / "routed.gguf");
  return folder / "routed.gguf";
}

inline Decoder routed_gguf_decoder(Routing routing, KvCaching caching = KvCaching::kFull) {
  const TemporaryDirectory folder;
  return Decoder::load(write_routed_gguf(folder, routing), {.kv_caching = caching});
}

/// The same for what is inside the library.
inline std::shared_ptr<const LoadedDecoder> routed_gguf_model(Routing routing) {
  const TemporaryDirectory folder;
  return load_decoder(write_routed_gguf(folder, routing), {});
}

}  // namespace taesr::testing
