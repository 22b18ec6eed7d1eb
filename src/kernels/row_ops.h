#pragma once

#include <ATen/core/Tensor.h>

#include "taesr/export.h"

namespace taesr {

// Tokens that leave and come back: matrices of a batch [tokens, width], whose last dimension is contiguous,
// and row numbers, int64, all in range. On CUDA in accesses of 16 bytes where the rows allow it. No derivatives.

/// result[i] = x[rows[i]]: compacts states, or a cache of keys and values, to the rows wanted.
[[nodiscard]] TAESR_API at::Tensor gather_rows(const at::Tensor& x, const at::Tensor& rows);

/// x[rows[i]] = values[i]; no row twice.
TAESR_API void scatter_rows_(at::Tensor& x, const at::Tensor& rows, const at::Tensor& values);

/// x[rows[i]] += gate[i] * (moved[i] - x[rows[i]]); gate float32 [rows].
TAESR_API void scatter_gated_(at::Tensor& x, const at::Tensor& rows, const at::Tensor& moved, const at::Tensor& gate);

/// Keys and values of some tokens into a packed cache [tokens, 2 * hidden], from their product with the joint
/// weights `qkv` [rows, 3 * hidden]: cache[rows[i]] = qkv[i, hidden:]. Those of other tokens stay.
TAESR_API void kv_append_(at::Tensor& cache, const at::Tensor& rows, const at::Tensor& qkv);

}  // namespace taesr
