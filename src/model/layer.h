#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "model/packed_layout.h"
#include "model/weights.h"

namespace taesr {

/// How the layers of one pass compute, beside their weights.
struct LayerSettings {
  std::int64_t heads = 1;
  double norm_eps = 0;
  bool checkpoint = false;
};

/// One post-norm BERT block (Devlin et al. 2019, arXiv 1810.04805). x [T, hidden] -> [T, hidden].
[[nodiscard]] at::Tensor apply_layer(const at::Tensor& x, const LayerWeights& weights, const LayerNorms& norms,
                                     const PackedLayout& layout, const LayerSettings& settings);

/// The same for some of the tokens: `x` [active tokens, hidden], laid out as `active`, attends to all
/// of `states` [T, hidden]. Returns [active tokens, hidden].
[[nodiscard]] at::Tensor apply_layer(const at::Tensor& x, const PackedLayout& active, const at::Tensor& states,
                                     const LayerWeights& weights, const LayerNorms& norms,
                                     const PackedLayout& layout, const LayerSettings& settings);

}  // namespace taesr
