#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "taesr/export.h"

namespace taesr {

/// Shape of the recursive encoder. Every field is checked by `validate`; JSON uses the same names.
///
/// The encoder is an entry layer, `shared_layers` layers applied `r` times, and an exit layer
/// ("middle cycle" sharing, Mixture-of-Recursions, arXiv 2507.10524), post-norm BERT blocks with a
/// norm of its own for each recursion, and a zero-initialised re-injection of the entry state.
struct TAESR_API TAESRConfig {
  int vocab_size = 24000;
  int hidden_size = 384;
  int intermediate_size = 1536;
  int num_attention_heads = 12;
  int max_position_embeddings = 256;  // tokens read in one pass, the two special ones included
  double layer_norm_eps = 1e-12;
  int shared_layers = 2;
  std::map<std::string, int> recursion_steps = {{"easy", 1}, {"medium", 3}, {"hard", 6}};
  int embedding_size = 384;           // of the pooled output
  std::vector<int> matryoshka_dimensions = {64, 128, 256, 384};
  int bos_id = 0;
  int pad_id = 1;
  int eos_id = 2;
  int unk_id = 3;

  /// Throws InvalidArgument that names the field, its value and the allowed range.
  void validate() const;

  /// Most recursions that the weights are made for: the largest of recursion_steps.
  [[nodiscard]] int max_recursions() const;

  /// Recursions for "easy", "medium", "hard" or a decimal number from 1 to max_recursions().
  /// "auto" is "medium" as long as the model has no router. Throws InvalidArgument for anything else.
  [[nodiscard]] int recursions(const std::string& depth) const;

  /// Text of one JSON object. Missing fields take their defaults; unknown and wrong-typed ones, NaN
  /// and out-of-range values throw InvalidArgument that names them. `origin` stands in messages.
  [[nodiscard]] static TAESRConfig from_json(const std::string& text, const std::string& origin = "config");
  [[nodiscard]] std::string to_json() const;

  [[nodiscard]] static TAESRConfig from_file(const std::filesystem::path& path);

  bool operator==(const TAESRConfig&) const = default;
};

}  // namespace taesr
