#pragma once

#include <cstdint>
#include <optional>

#include <ATen/core/Tensor.h>

#include "taesr/export.h"

namespace taesr {

// The memory-bound steps of a pass for inference, each in one pass over memory on CUDA (widths of 128, 256, ...
// 1024). The arithmetic is float32 for states of every dtype. No derivatives.

/// Gain and shift, float32 [width], of a layer norm (Ba et al. 2016).
struct NormVectors {
  at::Tensor gain;
  at::Tensor shift;
  double eps = 0;
};

/// layer_norm(token[tokens[t]] + position[places[t] / 2] + role[places[t] % 2]); tokens and places int32 [T],
/// the tables [., width] of one dtype, which is that of the result [T, width].
[[nodiscard]] TAESR_API at::Tensor embed_norm(const at::Tensor& tokens, const at::Tensor& places,
                                              const at::Tensor& token, const at::Tensor& position,
                                              const at::Tensor& role, const NormVectors& norm);

/// A state that comes back: x + scale * entry for the first `rows` rows of a result.
struct Reinjection {
  at::Tensor entry;  // [rows or more, width]
  at::Tensor scale;  // float32 [width]
  std::int64_t rows = 0;
};

/// x = layer_norm(x + y + bias), in place, then the reinjection. x, y [T, width], bias float32 [width].
TAESR_API void add_norm_(at::Tensor& x, const at::Tensor& y, const at::Tensor& bias, const NormVectors& norm,
                         const std::optional<Reinjection>& reinjection);

/// Mean of the rows of each sequence, 0 for none: float32 [sequences, width]. offsets int32 [sequences + 1].
/// Rows are added in their order, so that a sequence's mean does not depend on the others.
[[nodiscard]] TAESR_API at::Tensor segment_mean(const at::Tensor& x, const at::Tensor& offsets);

/// By ATen, on every device: what the operators mean, and what widths without a kernel take.
[[nodiscard]] at::Tensor embed_norm_by_aten(const at::Tensor& tokens, const at::Tensor& places,
                                            const at::Tensor& token, const at::Tensor& position,
                                            const at::Tensor& role, const NormVectors& norm);
void add_norm_by_aten(at::Tensor& x, const at::Tensor& y, const at::Tensor& bias, const NormVectors& norm,
                      const std::optional<Reinjection>& reinjection);
[[nodiscard]] at::Tensor segment_mean_by_aten(const at::Tensor& x, const at::Tensor& offsets);

}  // namespace taesr
