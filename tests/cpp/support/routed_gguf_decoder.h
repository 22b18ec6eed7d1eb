#pragma once

#include <memory>

#include "decoder/loaded_decoder.h"
#include "support/files.h"
#include "support/small_gguf_decoder.h"
#include "support/temporary_directory.h"
#include "taesr/decoder.h"

namespace taesr::testing {

struct RoutedGguf {
  Routing routing = Routing::kExpertChoice;
  GgmlType type = GgmlType::kF32;  // of the matrices
  float scale = 1;                 // of the scores
};

/// Writes a file of random weights with two recursions whose routers send some tokens each way, and the
/// small tokenizer.
inline std::filesystem::path write_routed_gguf(const TemporaryDirectory& folder,
                                               const RoutedGguf& wanted = {}) {
  write_bytes(folder / "plain.gguf", small_gguf_decoder());
  DecoderConfig config = small_decoder(LayerSharing::kMiddleCycle, 6, 2);
  config.vocab_size = 256 + static_cast<std::int64_t>(kMerges.size()) + 2;
  config.hidden_size = 32;
  config.intermediate_size = 64;
  config.head_dim = 8;
  config.routing = wanted.routing;
  config.gate = Gate::kPreserving;
  Floats values = random_decoder_weights(config, 9);
  for (float& gain : values["model.norm.weight"].second) gain *= wanted.scale;
  save(values, folder / "weights");
  const GgufFile tokenizer(folder / "plain.gguf");
  const DecoderWeights weights = load_decoder_weights(config, WeightPrecision::kStored, folder / "weights");
  save_gguf(config, weights, wanted.type, {}, &tokenizer, folder / "routed.gguf");
  return folder / "routed.gguf";
}

}  // namespace taesr::testing
