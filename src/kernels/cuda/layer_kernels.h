#pragma once

#include <cstdint>

#include <cuda_runtime.h>

#include "kernels/cuda/element.h"

namespace taesr::cuda {

/// attention.cu: softmax(q k^T / sqrt(head size)) v for tiles of `tile_rows` queries; float16 or bfloat16.
struct Attention {
  const void* query;  // [queries, query_stride], heads side by side; key and value alike
  const void* key;
  const void* value;
  void* out;          // [queries, heads * head_size]
  std::int64_t query_stride;
  std::int64_t key_stride;  // of values too
  const std::int32_t* query_offsets;  // [sequences + 1]
  const std::int32_t* key_offsets;    // [sequences + 1]
  const std::int32_t* tiles;          // [tile_count, 2]: sequence, first query in it; sequence -1: none
  std::int64_t tile_count;
  int tile_rows;      // 16 or 64
  int heads;
  int head_size;      // 32 or 64
};
void attention(const Attention& call, Element element, cudaStream_t stream);

inline constexpr int kNormStep = 128;  // widths that the norms take: multiples of it up to kNormLimit
inline constexpr int kNormLimit = 1024;

/// norm.cu: layer_norm(token[tokens[t]] + position[places[t] / 2] + role[places[t] % 2]) * gain + shift.
struct EmbedNorm {
  const std::int32_t* tokens;  // [rows]
  const std::int32_t* places;  // [rows]
  const void* token;           // [., width]; position and role alike
  const void* position;
  const void* role;
  const float* gain;           // [width]
  const float* shift;
  void* out;                   // [rows, width]
  std::int64_t rows;
  int width;
  float eps;
};
void embed_norm(const EmbedNorm& call, Element element, cudaStream_t stream);

/// norm.cu: x = layer_norm(x + y + bias) * gain + shift, and of the first `carried` rows then x + scale * entry.
struct AddNormInPlace {
  void* x;             // [rows, width]
  const void* y;       // [rows, width]
  const float* bias;   // [width]
  const float* gain;
  const float* shift;
  const void* entry;   // [carried, width]
  const float* scale;  // [width]
  std::int64_t rows;
  std::int64_t carried;
  int width;
  float eps;
};
void add_norm_in_place(const AddNormInPlace& call, Element element, cudaStream_t stream);

/// norm.cu: mean of the rows of each sequence, 0 for none, added in their order. width a multiple of 4 up to 4096.
struct SegmentMean {
  const void* x;                // [rows, width]
  const std::int32_t* offsets;  // [sequences + 1]
  float* out;                   // [sequences, width]
  std::int64_t sequences;
  int width;
};
void segment_mean(const SegmentMean& call, Element element, cudaStream_t stream);

}  // namespace taesr::cuda
