#pragma once

#include <cstdint>

#include <cuda_runtime.h>

#include "kernels/cuda/element.h"
#include "kernels/decode_row.h"

namespace taesr::cuda {

// Launchers of the operators in kernels/decode_ops.h, which says what they mean; float32 and bfloat16.

/// decode.cu
struct DecodeGather {
  const void* table;
  const DecodeRow* rows;
  float* out;
  std::int64_t count;
  int width;
  bool by_state;
};
void decode_gather(const DecodeGather& call, Element element, cudaStream_t stream);

struct AddRmsNorm {
  float* x;
  const void* y;  // null: nothing
  const float* gain;
  void* out;
  std::int64_t count;
  int width;
  float eps;
};
void add_rms_norm(const AddRmsNorm& call, Element element, cudaStream_t stream);

struct DecodeSwiGlu {
  const void* gate_up;
  void* out;
  std::int64_t count;
  int width;
};
void decode_swiglu(const DecodeSwiGlu& call, Element element, cudaStream_t stream);

/// decode_merge.cu
struct DecodeMerge {
  float* states;
  float* chances;
  std::int32_t* depths;
  const float* x;
  const void* y;  // null: nothing
  const DecodeRow* rows;
  const float* weights;  // [recursions, width]
  const float* bias;
  std::int32_t* going;
  std::int64_t count;
  int width;
  int recursions;
  int kind;  // 0: none, 1: expert choice, 2: token choice
  bool preserving;
  float scale;
};
void decode_merge(const DecodeMerge& call, Element element, cudaStream_t stream);

/// decode_scores.cu
struct DecodeTop {
  const float* logits;
  float* scores;
  std::int32_t* tokens;
  std::int64_t count;
  std::int64_t vocabulary;
  int top;  // up to kMostTop, and up to the vocabulary
};
void decode_top(const DecodeTop& call, cudaStream_t stream);

/// decode_append.cu
struct PagedKeys {
  const void* qkv;
  const DecodeRow* rows;
  const std::int64_t* addresses;
  const float* angles;
  std::int64_t count;
  int heads;
  int kv_heads;
  int head_size;  // even, up to 256
  int slot;
};
void decode_append(const PagedKeys& call, Element element, cudaStream_t stream);

/// decode_attention.cu
struct PagedAttention {
  PagedKeys keys;
  float* parts;  // [rows, heads, splits, head_size + 2]: sums of values, the largest score, the sum of weights
  void* out;
  int splits;
};
void decode_attend(const PagedAttention& call, Element element, cudaStream_t stream);
/// decode_tiles.cu: by tensor cores, for bfloat16 and heads of 32, 64 and 128; false for others. Leaves parts as they
/// are.
bool attend_by_tiles(const PagedAttention& call, cudaStream_t stream);

}  // namespace taesr::cuda
