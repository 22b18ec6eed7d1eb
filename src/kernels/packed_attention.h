#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "model/packed_layout.h"

namespace taesr {

/// Bidirectional attention inside each sequence of a packed batch (Vaswani et al. 2017).
///
/// `qkv` [tokens, 3 * hidden] holds queries, keys and values, each [heads, hidden / heads]. Returns
/// [tokens, hidden]. Differentiable. On CUDA, half precision goes through FlashAttention (Dao 2023,
/// arXiv 2307.08691); float32 and head sizes that it does not take, a sequence at a time.
[[nodiscard]] at::Tensor packed_attention(const at::Tensor& qkv, const PackedLayout& layout, std::int64_t heads);

/// The same for some of the tokens: `query` [active tokens, hidden] laid out as `active`, a part of
/// `layout`, sees `keys_values` [tokens, 2 * hidden]. Returns [active tokens, hidden].
[[nodiscard]] at::Tensor packed_attention(const at::Tensor& query, const PackedLayout& active,
                                          const at::Tensor& keys_values, const PackedLayout& layout,
                                          std::int64_t heads);

}  // namespace taesr
