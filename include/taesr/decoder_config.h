#pragma once

#include <cstdint>
#include <string>

#include "taesr/export.h"

namespace taesr {

/// Which layers of a decoder are the same one (Bae et al. 2025, arXiv 2507.10524). With b layers in the
/// shared block: cycle abc abc, sequence aabbcc; the middle schemes keep a first and a last layer of their
/// own.
enum class Sharing { kNone, kCycle, kSequence, kMiddleCycle, kMiddleSequence };

/// "none", "cycle", "sequence", "middle_cycle" or "middle_sequence"; throws InvalidArgument for anything
/// else.
[[nodiscard]] TAESR_API Sharing parse_sharing(const std::string& name);
[[nodiscard]] TAESR_API const char* name_of(Sharing sharing);

/// Shape of a Llama-style decoder: RMSNorm, rotary positions, grouped-query attention, SwiGLU.
struct TAESR_API DecoderConfig {
  std::int64_t vocab_size = 0;
  std::int64_t hidden_size = 0;
  std::int64_t intermediate_size = 0;
  std::int64_t layers = 0;  // as a token passes them, each application of a shared one counted
  std::int64_t heads = 0;
  std::int64_t kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t max_positions = 0;
  double rope_theta = 10'000;
  double norm_eps = 1e-5;
  bool tied_embeddings = true;  // the token table is the output layer's weight too
  Sharing sharing = Sharing::kNone;
  std::int64_t recursions = 1;  // times that a shared layer is applied

  /// Layers that have weights of their own.
  [[nodiscard]] std::int64_t unique_layers() const;
  /// The one of them that is applied as layer `layer`, counted from 0.
  [[nodiscard]] std::int64_t unique_layer(std::int64_t layer) const;

  /// Throws InvalidArgument that begins with `origin` and names the field and its allowed range.
  void validate(const std::string& origin) const;
};

}  // namespace taesr
