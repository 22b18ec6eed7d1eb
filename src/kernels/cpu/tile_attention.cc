#include "kernels/tile_attention.h"

#include <torch/library.h>

#include <algorithm>

#include <ATen/TensorOperators.h>
#include <ATen/ops/scaled_dot_product_attention.h>

#include "kernels/dispatch.h"

namespace taesr {
namespace {

using Signature = void(const at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&,
                       const at::Tensor&, std::int64_t, std::int64_t, at::Tensor&);

void tile_attention_op(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value,
                        const at::Tensor& query_offsets, const at::Tensor& key_offsets, const at::Tensor& tiles,
                        std::int64_t tile_rows, std::int64_t heads, at::Tensor& out) {
  tile_attention_by_aten({query, key, value, query_offsets, key_offsets, heads}, tiles, static_cast<int>(tile_rows), out);
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(taesr, library) {
  library.def(
      "tile_attention(Tensor query, Tensor key, Tensor value, Tensor query_offsets, Tensor key_offsets, Tensor tiles, "
      "int tile_rows, int heads, Tensor(a!) out) -> ()");
}

TORCH_LIBRARY_IMPL(taesr, CompositeExplicitAutograd, library) { library.impl("tile_attention", &tile_attention_op); }

void tile_attention_by_aten(const TileAttention& call, const at::Tensor& tiles, int tile_rows, at::Tensor& out) {
  const auto places = tiles.cpu().contiguous();
  const auto query_borders = call.query_offsets.cpu();
  const auto key_borders = call.key_offsets.cpu();
  const auto* tile = places.const_data_ptr<std::int32_t>();
  const auto* query_border = query_borders.const_data_ptr<std::int32_t>();
  const auto* key_border = key_borders.const_data_ptr<std::int32_t>();
  for (std::int64_t i = 0; i < places.size(0); ++i) {
    const std::int32_t sequence = tile[2 * i];
    if (sequence < 0) continue;
    const std::int64_t first = query_border[sequence] + tile[2 * i + 1];
    const std::int64_t rows = std::min<std::int64_t>(tile_rows, query_border[sequence + 1] - first);
    const std::int64_t keys = key_border[sequence + 1] - key_border[sequence];
    const auto heads = [&](const at::Tensor& x, std::int64_t begin, std::int64_t count) {
      return x.narrow(0, begin, count).unflatten(1, {call.heads, -1}).transpose(0, 1).unsqueeze(0);
    };
    const auto attended = at::scaled_dot_product_attention(heads(call.query, first, rows),
                                                           heads(call.key, key_border[sequence], keys),
                                                           heads(call.value, key_border[sequence], keys));
    out.narrow(0, first, rows).copy_(attended.squeeze(0).transpose(0, 1).flatten(1));
  }
}

bool has_tile_kernel(at::Device device, at::ScalarType dtype, std::int64_t head_size) {
  return device.is_cuda() && (dtype == at::kHalf || dtype == at::kBFloat16) && (head_size == 32 || head_size == 64);
}

void tile_attention(const TileAttention& call, const at::Tensor& tiles, int tile_rows, at::Tensor& out) {
  static const auto op = find_operator<Signature>("taesr::tile_attention");
  op.call(call.query, call.key, call.value, call.query_offsets, call.key_offsets, tiles, tile_rows, call.heads, out);
}

}  // namespace taesr
