#include "engine/cuda/routed_recursion.h"

#include <algorithm>
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/mv.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros_like.h>

#include "kernels/active_tokens.h"
#include "kernels/row_ops.h"
#include "kernels/tile_attention.h"
#include "kernels/to_device.h"

namespace taesr {

RoutedTokens::RoutedTokens(const TAESRConfig& config, const TokenScores& scores, const DeviceBatch& layout,
                           std::span<const std::int64_t> offsets, std::size_t layers)
    : config_(config),
      scores_(scores),
      layout_(layout),
      offsets_(offsets),
      borders_(layout.borders.to(at::kLong)),
      going_(at::ones({offsets.back()}, borders_.options().dtype(at::kBool))),
      active_(offsets.begin(), offsets.end()),
      cache_(layers) {}

void RoutedTokens::recur(at::Tensor& x, const at::Tensor& entry, int r, const Extent& extent,
                         const at::Tensor& reinject, const Layers& layers) {
  auto states = x.narrow(0, 0, extent.tokens);
  const auto scores = at::mv(states.to(at::kFloat), scores_.weight.select(0, r));
  const Active active = choose(scores, r, extent);
  cache_stopped(states, active, extent, layers);
  if (active.rows.size(0) == 0) return;
  auto moved = gather_rows(states, active.rows);
  if (r > 0) moved.addcmul_(reinject.to(moved.scalar_type()), gather_rows(entry, active.rows));
  const DeviceBatch queries = send_layout(active.offsets, x.device());
  for (std::size_t k = 0; k < cache_.size(); ++k) {
    layers.apply(k, [&](const at::Tensor& qkv) { return attend(qkv, cache_[k], active, queries); }, moved);
  }
  scatter_gated_(states, active.rows, moved, 2 * scores.index_select(0, active.rows).sigmoid());
}

RoutedTokens::Active RoutedTokens::choose(const at::Tensor& scores, int r, const Extent& extent) const {
  const auto going = going_.narrow(0, 0, extent.tokens);
  const auto borders = borders_.narrow(0, 0, extent.sequences + 1);
  if (config_.token_routing == TokenRouting::kTokenChoice) {
    const auto chosen = active_rows(going.logical_and(scores + scores_.bias.select(0, r) >= 0), borders);
    const auto host = chosen.offsets.cpu();
    const auto* offset = host.const_data_ptr<std::int64_t>();
    Active active = {{}, {offset, offset + host.size(0)}};
    active.rows = chosen.rows.narrow(0, 0, active.offsets.back());
    return active;
  }
  // The count that model/token_routing.h takes: at least one, and 0.1 of 30 tokens are 3.
  Active active = {{}, {0}};
  for (std::size_t i = 0; i < static_cast<std::size_t>(extent.sequences); ++i) {
    const double share = config_.capacity(r) * static_cast<double>(offsets_[i + 1] - offsets_[i]);
    active.offsets.push_back(active.offsets.back() + std::max<std::int64_t>(1, std::llround(std::ceil(share - 1e-9))));
  }
  const auto kept = to_device(at::tensor(active.offsets, at::kLong), scores.device());
  active.rows = best_rows(scores, going, borders, kept, active.offsets.back());
  return active;
}

/// Keys and values of the tokens that went on before and do not now, for all recursions to come.
void RoutedTokens::cache_stopped(const at::Tensor& states, const Active& active, const Extent& extent,
                                 const Layers& layers) {
  const auto going = going_.narrow(0, 0, extent.tokens);
  const auto still = at::zeros_like(going).index_fill_(0, active.rows, true);
  const std::int64_t count = active_[static_cast<std::size_t>(extent.sequences)] - active.offsets.back();
  const auto stopped = active_rows(going.logical_and(still.logical_not()), borders_.narrow(0, 0, extent.sequences + 1));
  const auto rows = stopped.rows.narrow(0, 0, count);
  const auto at_rest = gather_rows(states, rows);
  for (std::size_t k = 0; k < cache_.size(); ++k) {
    if (!cache_[k].defined()) cache_[k] = at::empty({extent.tokens, 2 * states.size(1)}, states.options());
    if (count > 0) scatter_rows_(cache_[k], rows, layers.keys_values(k, at_rest));
  }
  going_ = still;
  active_ = active.offsets;
}

at::Tensor RoutedTokens::attend(const at::Tensor& qkv, at::Tensor& cache, const Active& active,
                                const DeviceBatch& queries) const {
  const std::int64_t hidden = cache.size(1) / 2;
  kv_append_(cache, active.rows, qkv);
  auto out = at::empty({qkv.size(0), hidden}, qkv.options());
  const TileAttention call = {qkv.narrow(1, 0, hidden), cache.narrow(1, 0, hidden), cache.narrow(1, hidden, hidden),
                              queries.borders, layout_.borders, config_.num_attention_heads};
  tile_attention(call, queries.small_tiles, kSmallTile, out);
  tile_attention(call, queries.large_tiles, kLargeTile, out);
  return out;
}

}  // namespace taesr
