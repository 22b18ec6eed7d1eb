#pragma once

#include <cstdint>

#include <cuda_runtime.h>

#include "kernels/cuda/element.h"

namespace taesr::cuda {

/// sparse_max.cu: for one tile of logits the largest one of each text and piece, as a weight.
struct SparseMax {
  const void* logits;           // [tokens, pieces], of the tokens from `first_token` on
  const std::int64_t* offsets;  // [texts + 1] of these texts, absolute
  const float* bias;            // [pieces]
  float* weights;               // [texts, stride] out: log1p(relu(largest + bias))
  std::int32_t* tokens;         // the same out: which token that is; may be null
  std::int64_t first_token;
  std::int64_t texts;           // at most 65535
  std::int64_t pieces;
  std::int64_t stride;
};
void sparse_max(const SparseMax& call, Element element, cudaStream_t stream);

/// maxsim.cu: the sum over a query's tokens of the largest dot product with a document's tokens.
struct MaxSim {
  const void* queries;                  // [., width]
  const void* documents;                // [., width]
  const std::int64_t* query_offsets;    // [query_count + 1]
  const std::int64_t* document_offsets; // [document_count + 1]
  float* scores;                        // [query_count, document_count]
  std::int64_t query_count;             // at most 65535
  std::int64_t document_count;
  int width;                            // of half precision a multiple of 16
};
inline constexpr int kMaxSimWidth = 256;
void maxsim(const MaxSim& call, Element element, cudaStream_t stream);

}  // namespace taesr::cuda
