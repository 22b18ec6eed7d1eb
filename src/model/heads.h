#pragma once

#include <cstdint>
#include <span>

#include <ATen/core/Tensor.h>

#include "model/weights.h"
#include "taesr/export.h"
#include "taesr/sparse_vector.h"

namespace taesr {

// Heads read the states of the last layer, `hidden` [tokens, hidden size] in any floating dtype, and are
// differentiable in them and in their parameters, which may have another dtype than the states.

/// norm(gelu(transform hidden)) in the dtype of `hidden`: what is compared with the rows of the token table.
[[nodiscard]] TAESR_API at::Tensor sparse_transform(const at::Tensor& hidden, const SparseWeights& head,
                                                    double norm_eps);

/// Weight of every piece in every text (SPLADE, Formal et al. 2021, arXiv 2109.10086), tied to the token
/// `table` [vocabulary, hidden]: float32 [texts, vocabulary], none below zero.
[[nodiscard]] TAESR_API at::Tensor sparse_embedding(const at::Tensor& hidden, const SparseWeights& head,
                                                    const at::Tensor& table, double norm_eps,
                                                    std::span<const std::int64_t> offsets);

/// The query side without an encoder: the inverse document frequency of each piece that is in `tokens`.
[[nodiscard]] SparseVector sparse_query_from_table(std::span<const int> tokens, std::span<const float> idf);

/// Late interaction (ColBERT, Khattab and Zaharia 2020, arXiv 2004.12832): `weight` [late size, hidden].
/// Returns float32 [tokens, late size], unit rows.
[[nodiscard]] TAESR_API at::Tensor late_embedding(const at::Tensor& hidden, const at::Tensor& weight);

}  // namespace taesr
