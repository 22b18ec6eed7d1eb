#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "taesr/export.h"

namespace taesr {

/// Which of the unrolled layers share their products (Mixture-of-Recursions, arXiv 2507.10524, table 1).
/// In "cycle" the block of shared layers is applied r times: 1 2 1 2 1 2; in "sequence" each shared
/// layer is: 1 1 1 2 2 2. The "middle" schemes put layers of their own before and after the block.
enum class Sharing { kMiddleCycle, kCycle, kMiddleSequence, kSequence };

/// Which tokens a recursion works on. The keys and values of the others stay visible.
enum class TokenRouting {
  kNone,          // all
  kExpertChoice,  // the token_capacity share of each sequence that scores highest
  kTokenChoice,   // each token stops where its score falls below zero
};

/// What makes the sparse vectors of queries in a search; passages always go through the encoder.
enum class SparseQueries {
  kTable,    // their own pieces, each with its weight in the table sparse.idf: no pass, and no expansion
  kEncoder,  // the sparse head
};

/// As the JSON spells them.
[[nodiscard]] TAESR_API std::string to_string(Sharing sharing);
[[nodiscard]] TAESR_API std::string to_string(SparseQueries queries);
[[nodiscard]] TAESR_API std::string to_string(TokenRouting routing);

/// Shape of the recursive encoder. Every field is checked by `validate`; JSON uses the same names.
///
/// Post-norm BERT layers: `entry_layers`, then `shared_layers` applied `r` times as `sharing` says,
/// then `refinement_layers` if r > 1 (so that the easy depth stays cheap), then `exit_layers`. Each
/// application of a shared layer has norms of its own, and every application of the block after the
/// first (of each layer in the "sequence" schemes) re-injects the state that entered the recursion.
/// On top: a dense head, and the sparse, late-interaction, router and subspace heads that are asked for.
struct TAESR_API TAESRConfig {
  int vocab_size = 22000;
  int hidden_size = 384;
  int intermediate_size = 1536;
  int num_attention_heads = 12;
  int max_position_embeddings = 256;  // tokens read in one pass, the two special ones included
  double layer_norm_eps = 1e-12;
  Sharing sharing = Sharing::kMiddleCycle;
  int entry_layers = 1;  // these, refinement_layers and exit_layers must be 0 without "middle"
  int shared_layers = 2;
  int refinement_layers = 0;
  int exit_layers = 1;
  std::map<std::string, int> recursion_steps = {{"easy", 1}, {"medium", 3}, {"hard", 6}};
  int embedding_size = 384;           // of the pooled output
  std::vector<int> matryoshka_dimensions = {64, 128, 256, 384};
  bool sparse_head = false;
  SparseQueries sparse_queries = SparseQueries::kTable;
  int late_size = 0;                     // dimensions a token of the late-interaction head; 0: none
  int router_size = 0;                   // hidden units of the depth router; 0: none
  double router_confidence = 0.5;        // a text takes the smallest depth that suffices with this probability
  std::map<std::string, int> subspaces;  // dimensions by name, as {"temporal", 64}
  TokenRouting token_routing = TokenRouting::kNone;
  std::vector<double> token_capacity;    // share of tokens in recursion 1, 2, ...; the last one repeats
  int bos_id = 0;
  int pad_id = 1;
  int eos_id = 2;
  int unk_id = 3;

  /// Throws InvalidArgument that names the field, its value and the allowed range.
  void validate() const;

  /// Most recursions that the weights are made for: the largest of recursion_steps.
  [[nodiscard]] int max_recursions() const;

  /// Share of each sequence's tokens that recursion `r` (from 0) works on, in expert choice.
  [[nodiscard]] double capacity(int r) const;

  /// Recursions for "easy", "medium", "hard" or a decimal number from 1 to max_recursions().
  /// "auto" is "medium", for models without a router. Throws InvalidArgument for anything else.
  [[nodiscard]] int recursions(const std::string& depth) const;

  /// Text of one JSON object. Missing fields take their defaults; unknown and wrong-typed ones, NaN
  /// and out-of-range values throw InvalidArgument that names them. `origin` stands in messages.
  [[nodiscard]] static TAESRConfig from_json(const std::string& text, const std::string& origin = "config");
  [[nodiscard]] std::string to_json() const;

  [[nodiscard]] static TAESRConfig from_file(const std::filesystem::path& path);

  bool operator==(const TAESRConfig&) const = default;
};

}  // namespace taesr
