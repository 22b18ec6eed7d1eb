#pragma once

#include <ATen/core/Tensor.h>

#include "taesr/export.h"

namespace taesr {

/// Late interaction (ColBERT, Khattab and Zaharia 2020, arXiv 2004.12832) of every query with every document:
/// the sum over the query's tokens of the largest dot product with any of the document's; 0 where either has
/// no tokens.
///
/// `queries` [tokens, width] and `documents` [tokens, width] are packed token vectors of one dtype, float32,
/// float16 or bfloat16; offsets are int64 [count + 1]. Products and sums are float32. Returns float32
/// [queries, documents]. No derivatives.
[[nodiscard]] TAESR_API at::Tensor packed_maxsim(const at::Tensor& queries, const at::Tensor& query_offsets,
                                                 const at::Tensor& documents, const at::Tensor& document_offsets);

/// By ATen, on every device.
[[nodiscard]] at::Tensor packed_maxsim_by_aten(const at::Tensor& queries, const at::Tensor& query_offsets,
                                               const at::Tensor& documents, const at::Tensor& document_offsets);

}  // namespace taesr
