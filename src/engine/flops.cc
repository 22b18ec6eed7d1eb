#include "engine/flops.h"

#include <algorithm>
#include <cmath>

namespace taesr {
namespace {

/// One layer for `active` tokens that attend to `visible` ones.
double layer_flops(const ModelShape& shape, double active, double visible) {
  const double h = shape.hidden_size;
  return active * (8 * h * h + 4 * h * shape.intermediate_size) + 4 * active * visible * h;
}

/// What follows the entry layers: recursions, refinement, exit.
double depth_flops(const ModelShape& shape, double tokens, int recursions) {
  double flops = 0;
  for (int r = 0; r < recursions; ++r) {
    double active = tokens;
    if (!shape.token_capacity.empty()) {
      const auto last = static_cast<int>(shape.token_capacity.size()) - 1;
      active = std::ceil(shape.token_capacity[static_cast<std::size_t>(std::min(r, last))] * tokens);
    }
    flops += shape.shared_layers * layer_flops(shape, active, tokens);
  }
  const int after = shape.exit_layers + (recursions > 1 ? shape.refinement_layers : 0);
  return flops + after * layer_flops(shape, tokens, tokens);
}

double head_flops(const ModelShape& shape, double tokens, const Outputs& outputs) {
  const double h = shape.hidden_size;
  double flops = 0;
  if (outputs.dense) flops += 2 * h * shape.embedding_size;
  if (outputs.sparse) flops += 2 * tokens * h * (h + shape.vocab_size);
  if (outputs.late) flops += 2 * tokens * h * shape.late_size;
  return flops;
}

}  // namespace

ModelShape ModelShape::of(const TAESRConfig& config) {
  ModelShape shape;
  shape.hidden_size = config.hidden_size;
  shape.intermediate_size = config.intermediate_size;
  shape.embedding_size = config.embedding_size;
  shape.vocab_size = config.vocab_size;
  shape.late_size = config.late_size;
  shape.max_position_embeddings = config.max_position_embeddings;
  shape.entry_layers = config.entry_layers;
  shape.shared_layers = config.shared_layers;
  shape.refinement_layers = config.refinement_layers;
  shape.exit_layers = config.exit_layers;
  shape.deepest = config.max_recursions();
  if (config.token_routing == TokenRouting::kExpertChoice) shape.token_capacity = config.token_capacity;
  return shape;
}

double entry_flops(const ModelShape& shape, double tokens) {
  return shape.entry_layers * layer_flops(shape, tokens, tokens);
}

double pass_flops(const ModelShape& shape, double tokens, int recursions, const Outputs& outputs,
                  double subspace_values) {
  const bool deepest_too = subspace_values > 0 && recursions != shape.deepest;
  double flops = entry_flops(shape, tokens) + depth_flops(shape, tokens, recursions);
  flops += head_flops(shape, tokens, outputs);
  if (deepest_too) flops += depth_flops(shape, tokens, shape.deepest);
  return flops + 2 * shape.hidden_size * subspace_values;
}

double text_flops(const ModelShape& shape, double tokens, double windows, int recursions, const Outputs& outputs,
                  double subspace_values) {
  // Windows of a long text are all as long as one pass (see window_spans).
  const double length = std::min(tokens + 2, shape.max_position_embeddings);
  return windows * pass_flops(shape, length, recursions, outputs, subspace_values);
}

double subspace_values(const TAESRConfig& config, const Outputs& outputs) {
  double values = 0;
  for (const std::string& name : outputs.subspaces) values += config.subspaces.at(name);
  return values;
}

}  // namespace taesr
