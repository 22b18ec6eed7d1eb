#pragma once

#include <cstdint>

#include <ATen/core/Tensor.h>

#include "taesr/export.h"

namespace taesr {

/// Attention for inference: queries of one packed batch, keys and values of another with as many sequences.
struct TileAttention {
  at::Tensor query;          // [queries, heads * size], rows of any stride
  at::Tensor key;            // [tokens, heads * size]; keys and values have rows of one stride
  at::Tensor value;          // [tokens, heads * size]
  at::Tensor query_offsets;  // int32 [sequences + 1]
  at::Tensor key_offsets;    // int32 [sequences + 1]
  std::int64_t heads = 1;
};

/// Queries that one block works on: of short sequences, and of the others.
inline constexpr int kSmallTile = 16;
inline constexpr int kLargeTile = 64;

/// For each of `tiles`, int32 [tiles, 2] of sequence and first query in it, attention of the next `tile_rows`
/// queries (kSmallTile or kLargeTile) of that sequence, written to their rows of `out` [queries, heads * size].
/// Tiles of sequence -1 are filling. Sums are float32. On CUDA for heads of 32 or 64 in half precision a kernel
/// of our own (FlashAttention, Dao 2023, arXiv 2307.08691) that reads nothing back to the host; for others
/// ATen's, a tile at a time. No derivatives.
TAESR_API void tile_attention(const TileAttention& call, const at::Tensor& tiles, int tile_rows, at::Tensor& out);

/// Whether the kernel of our own takes it.
[[nodiscard]] bool has_tile_kernel(at::Device device, at::ScalarType dtype, std::int64_t head_size);

/// Through ATen, on every device; reads tiles and offsets on the host.
void tile_attention_by_aten(const TileAttention& call, const at::Tensor& tiles, int tile_rows, at::Tensor& out);

}  // namespace taesr
