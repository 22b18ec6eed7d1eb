#pragma once

#include <cstdint>
#include <span>

#include <ATen/core/Tensor.h>

namespace taesr {

/// Bidirectional attention inside each sequence of a packed batch (Vaswani et al. 2017).
///
/// `qkv` [tokens, 3 * hidden] holds queries, keys and values, each [heads, hidden / heads];
/// `offsets` [sequences + 1] are the sequences' borders. Returns [tokens, hidden]. Differentiable.
[[nodiscard]] at::Tensor packed_attention(const at::Tensor& qkv, std::span<const std::int64_t> offsets,
                                          std::int64_t heads);

}  // namespace taesr
