#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "taesr/export.h"

namespace taesr {

/// Which layers of a decoder are the same one (Bae et al. 2025, arXiv 2507.10524). With b layers in the
/// shared block: cycle abc abc, sequence aabbcc; the middle schemes keep a first and a last layer of their
/// own.
enum class LayerSharing { kNone, kCycle, kSequence, kMiddleCycle, kMiddleSequence };

/// "none", "cycle", "sequence", "middle_cycle" or "middle_sequence"; throws InvalidArgument for anything
/// else.
[[nodiscard]] TAESR_API LayerSharing parse_layer_sharing(const std::string& name);
[[nodiscard]] TAESR_API const char* name_of(LayerSharing sharing);

/// Who decides how often a token passes the shared layers: no one, so that all pass them `recursions` times;
/// a router before each recursion, which goes on with the tokens that it scores 0 or above, of those that
/// passed the one before (expert choice); or one before the first, which gives every token its number of
/// recursions (token choice).
enum class Routing { kNone, kExpertChoice, kTokenChoice };

/// "none", "expert_choice" or "token_choice"; throws InvalidArgument for anything else.
[[nodiscard]] TAESR_API Routing parse_routing(const std::string& name);
[[nodiscard]] TAESR_API const char* name_of(Routing routing);

/// What a router's probability p does with the states x and their recursion f(x): x + gate_scale p f(x), for
/// models trained from the beginning; or x + min(1, n p) (f(x) - x) with n = 2 (expert choice) or the
/// recursions (token choice), which leaves a model as it was while its routers are zeros.
enum class Gate { kScaled, kPreserving };

/// "scaled" or "preserving"; throws InvalidArgument for anything else.
[[nodiscard]] TAESR_API Gate parse_gate(const std::string& name);
[[nodiscard]] TAESR_API const char* name_of(Gate gate);

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
  LayerSharing sharing = LayerSharing::kNone;
  std::int64_t recursions = 1;  // times that a shared layer is applied, at most
  Routing routing = Routing::kNone;  // others with sharing cycle or middle_cycle only
  Gate gate = Gate::kScaled;
  double gate_scale = 0.1;

  /// Layers that have weights of their own.
  [[nodiscard]] std::int64_t unique_layers() const;
  /// The one of them that is applied as layer `layer`, counted from 0.
  [[nodiscard]] std::int64_t unique_layer(std::int64_t layer) const;

  /// Layers before the shared ones, and after them.
  [[nodiscard]] std::int64_t end_layers() const;
  /// Layers of one recursion.
  [[nodiscard]] std::int64_t block_layers() const { return (layers - 2 * end_layers()) / recursions; }

  /// Throws InvalidArgument that begins with `origin` and names the field and its allowed range.
  void validate(const std::string& origin) const;
};

/// Reads a config.json of transformers' LlamaConfig; of ours beside its fields are `sharing`, `recursions`,
/// `routing`, `gate` and `gate_scale`. Throws IoError, FormatError, or InvalidArgument for sizes out of
/// range.
[[nodiscard]] TAESR_API DecoderConfig read_decoder_config(const std::filesystem::path& path);

}  // namespace taesr
