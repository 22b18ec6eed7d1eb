#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include <ATen/core/Tensor.h>

#include "taesr/export.h"

namespace taesr {

/// What SPLADE's max pooling needs for its derivative (see kernels/sparse_pool.h). Texts without tokens have
/// no weights above zero.
struct SparseMax {
  at::Tensor weights;  // float32 [texts, vocabulary]
  at::Tensor tokens;   // int32 [texts, vocabulary]: which token each weight comes from
};

/// The operator taesr::sparse_max, of which kernels/sparse_pool.h is the differentiable one. On CUDA the
/// products of a tile of tokens and pieces, which the second cache holds, are reduced by a kernel of our own.
[[nodiscard]] TAESR_API SparseMax sparse_max(const at::Tensor& states, const at::Tensor& table, const at::Tensor& bias,
                                             std::span<const std::int64_t> offsets);

/// The heaviest pieces of each text, on the device of the states: of equal weights the smaller pieces.
struct SparseTop {
  at::Tensor pieces;   // int64 [texts, top or the vocabulary], ascending
  at::Tensor weights;  // float32 alike; 0 for pieces that the text does not have
};
[[nodiscard]] SparseTop sparse_top(const at::Tensor& states, const at::Tensor& table, const at::Tensor& bias,
                                   std::span<const std::int64_t> offsets, std::size_t top);

}  // namespace taesr
