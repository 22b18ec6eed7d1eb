#include "kernels/tile_attention.h"

#include <torch/library.h>

#include <c10/cuda/CUDAGuard.h>

#include "kernels/cuda/layer_kernels.h"
#include "kernels/cuda/tensors.h"

namespace taesr::cuda {
namespace {

/// Whether 16-byte accesses may begin at every row.
bool aligned(const at::Tensor& x) {
  const auto address = reinterpret_cast<std::uintptr_t>(x.const_data_ptr());
  return x.stride(1) == 1 && address % 16 == 0 && x.stride(0) * x.element_size() % 16 == 0;
}

void tile_attention_cuda(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                         const at::Tensor& query_offsets, const at::Tensor& key_offsets, const at::Tensor& tiles,
                         std::int64_t tile_rows, std::int64_t heads, at::Tensor& out) {
  const c10::cuda::CUDAGuard device(query.device());
  const auto head_size = query.size(1) / heads;
  const bool fits = has_tile_kernel(query.device(), query.scalar_type(), head_size) && aligned(query) && aligned(key) &&
                    aligned(value) && key.stride(0) == value.stride(0) && out.is_contiguous();
  if (!fits) {
    const TileAttention call = {query, key, value, query_offsets, key_offsets, heads};
    return tile_attention_by_aten(call, tiles, static_cast<int>(tile_rows), out);
  }
  require("key", key, query.device(), query.scalar_type());
  require("value", value, query.device(), query.scalar_type());
  require("out", out, query.device(), query.scalar_type());
  if (tile_rows != kSmallTile && tile_rows != kLargeTile) throw InvalidArgument("tile_rows must be 16 or 64");
  if (tiles.dim() != 2 || tiles.size(1) != 2) throw InvalidArgument("tiles must be [tiles, 2]");
  const auto places = packed("tiles", tiles, query.device(), at::kInt);
  const auto query_borders = packed("query_offsets", query_offsets, query.device(), at::kInt);
  const auto key_borders = packed("key_offsets", key_offsets, query.device(), at::kInt);
  attention({query.const_data_ptr(), key.const_data_ptr(), value.const_data_ptr(), out.data_ptr(), query.stride(0),
             key.stride(0), query_borders.const_data_ptr<std::int32_t>(), key_borders.const_data_ptr<std::int32_t>(),
             places.const_data_ptr<std::int32_t>(), places.size(0), static_cast<int>(tile_rows),
             static_cast<int>(heads), static_cast<int>(head_size)},
            element_of(query), stream_of(query));
}

}  // namespace

TORCH_LIBRARY_IMPL(taesr, CUDA, library) { library.impl("tile_attention", &tile_attention_cuda); }

}  // namespace taesr::cuda
