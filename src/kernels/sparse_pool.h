#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

#include "taesr/export.h"
#include "taesr/sparse_vector.h"

namespace taesr {

/// SPLADE's max pooling (Formal et al. 2021, arXiv 2109.10086): weight of each piece in each text,
/// the largest of log(1 + relu(state . row + bias)) over the text's tokens.
///
/// `states` [tokens, hidden] and `table` [vocabulary, hidden] share a dtype, `bias` is [vocabulary],
/// `offsets` [texts + 1] are the borders of the texts; those without tokens have no weights (and, where
/// derivatives are wanted, throw InvalidArgument). Returns float32
/// [texts, vocabulary]. Works through tiles of texts and pieces: [tokens, vocabulary] never exists.
/// Differentiable once in states, table and bias; saved for that is one token index a weight.
[[nodiscard]] TAESR_API at::Tensor sparse_pool(const at::Tensor& states, const at::Tensor& table,
                                               const at::Tensor& bias, std::span<const std::int64_t> offsets);

/// The same as rows of the `top` largest weights above zero (of equal ones the smaller pieces), without
/// derivatives and without [texts, vocabulary]. By text.
[[nodiscard]] std::vector<SparseVector> sparse_pool_rows(const at::Tensor& states, const at::Tensor& table,
                                                         const at::Tensor& bias,
                                                         std::span<const std::int64_t> offsets, std::size_t top);

/// The `top` heaviest pieces, ascending by piece. `weights` may be in any order, each piece once.
[[nodiscard]] SparseVector keep_heaviest(SparseVector weights, std::size_t top);

}  // namespace taesr
