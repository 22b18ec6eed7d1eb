#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

#include "model/weights.h"
#include "taesr/config.h"
#include "taesr/export.h"

namespace taesr {

/// Sequences laid end to end, without padding: special tokens included, at least one token each.
struct TAESR_API PackedBatch {
  at::Tensor tokens;                  // int64 [T]
  std::vector<std::int64_t> offsets;  // [B + 1]
  at::Tensor roles;                   // int64 [B], values of taesr::Role

  [[nodiscard]] std::int64_t sequences() const { return static_cast<std::int64_t>(offsets.size()) - 1; }

  /// Throws InvalidArgument for ids or roles out of range and for sequences that are empty or too long.
  void validate(const TAESRConfig& config) const;
};

struct EncoderOutput {
  at::Tensor hidden;  // [T, hidden_size], the last layer's states, in the weights' dtype
  at::Tensor pooled;  // float32 [B, embedding_size], unit rows
};

/// The encoder: a function of config, weights and tokens, the same for training and inference.
/// Differentiable in the weights. `recursions` is from 1 to config.max_recursions().
[[nodiscard]] TAESR_API EncoderOutput encoder_forward(const TAESRConfig& config, const EncoderWeights& weights,
                                            const PackedBatch& batch, int recursions);

}  // namespace taesr
