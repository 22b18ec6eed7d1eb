#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "taesr/encoder.h"
#include "taesr/export.h"

namespace taesr {

// Matrix products only, a multiplication and an addition counted as two: norms, activations, softmax and
// the routers are below one percent. With n tokens, hidden size h and inner size f, a layer takes
// 8 n h^2 + 4 n h f for its products and 4 n^2 h for attention.

/// The numbers that arithmetic depends on.
struct ModelShape {
  double hidden_size = 0;
  double intermediate_size = 0;
  double embedding_size = 0;
  double vocab_size = 0;
  double late_size = 0;
  double max_position_embeddings = 0;
  int entry_layers = 1;
  int shared_layers = 0;
  int refinement_layers = 0;
  int exit_layers = 1;
  int deepest = 0;                     // recursions that subspaces are read from
  std::vector<double> token_capacity;  // of expert choice; of token choice the count is the upper bound

  [[nodiscard]] static ModelShape of(const TAESRConfig& config);
};

/// One pass over `tokens` tokens, special ones included, that the heads of `outputs` read after `recursions`
/// recursions; `subspace_values` are the dimensions of the subspaces read from the deepest states, 0 for none.
[[nodiscard]] TAESR_API double pass_flops(const ModelShape& shape, double tokens, int recursions,
                                          const Outputs& outputs, double subspace_values = 0);

/// The part of it before the recursion.
[[nodiscard]] double entry_flops(const ModelShape& shape, double tokens);

/// A text of `tokens` tokens, special ones not counted, in `windows` passes that are all as long as one can be.
[[nodiscard]] TAESR_API double text_flops(const ModelShape& shape, double tokens, double windows, int recursions,
                                          const Outputs& outputs, double subspace_values = 0);

/// Dimensions of the subspaces in `outputs`, together.
[[nodiscard]] double subspace_values(const TAESRConfig& config, const Outputs& outputs);

}  // namespace taesr
