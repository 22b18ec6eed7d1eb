#include "engine/cuda/device_model.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/_addmm_activation.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/mm.h>

#include "engine/cuda/routed_recursion.h"

namespace taesr {
namespace {

at::Tensor first_rows(const at::Tensor& x, std::int64_t count) { return x.narrow(0, 0, count); }

bool in_sequence(Sharing sharing) { return sharing == Sharing::kSequence || sharing == Sharing::kMiddleSequence; }

}  // namespace

DeviceModel::DeviceModel(const TAESRConfig& config, const EncoderWeights& weights, at::ScalarType dtype,
                         at::Device device)
    : config_(config), device_(device), dtype_(dtype) {
  const auto table = [&](const at::Tensor& x) { return x.to(device, dtype).contiguous(); };
  token_ = table(weights.token);
  position_ = table(weights.position);
  role_ = table(weights.role);
  embedding_norm_ = norm(weights.embedding_norm);
  const auto blocks = [&](const std::vector<Layer>& layers) {
    std::vector<Block> list;
    for (const Layer& layer : layers) list.emplace_back(products(layer.weights), norms(layer.norms));
    return list;
  };
  entry_ = blocks(weights.entry);
  refinement_ = blocks(weights.refinement);
  exit_ = blocks(weights.exit);
  for (const LayerWeights& layer : weights.shared) shared_.push_back(products(layer));
  for (const auto& recursions : weights.shared_norms) {
    auto& list = shared_norms_.emplace_back();
    for (const LayerNorms& one : recursions) list.push_back(norms(one));
  }
  for (int r = 0; r < config.max_recursions(); ++r) {
    reinject_.push_back(weights.reinject.select(0, r).to(device, at::kFloat).contiguous());
  }
  if (weights.token_router) {
    router_weight_ = weights.token_router->weight.to(device, at::kFloat);
    const at::Tensor& bias = weights.token_router->bias;
    if (bias.defined()) router_bias_ = bias.to(device, at::kFloat);
  }
}

DeviceModel::Linear DeviceModel::linear(const Affine& affine, bool bias_in_norm) const {
  return {affine.weight.to(device_, dtype_).contiguous().t(),
          affine.bias.to(device_, bias_in_norm ? at::kFloat : dtype_)};
}

DeviceModel::Products DeviceModel::products(const LayerWeights& weights) const {
  return {linear(weights.qkv, false), linear(weights.out, true), linear(weights.up, false), linear(weights.down, true)};
}

NormVectors DeviceModel::norm(const Affine& affine) const {
  return {affine.weight.to(device_, at::kFloat), affine.bias.to(device_, at::kFloat), config_.layer_norm_eps};
}

DeviceModel::Norms DeviceModel::norms(const LayerNorms& norms) const { return {norm(norms.attention), norm(norms.mlp)}; }

bool DeviceModel::recordable() const {
  const std::int64_t head_size = config_.hidden_size / config_.num_attention_heads;
  return has_tile_kernel(device_, dtype_, head_size) && config_.token_routing == TokenRouting::kNone;
}

at::Tensor DeviceModel::enter(const DeviceBatch& batch, const Extent& extent) const {
  auto x = embed_norm(batch.tokens, batch.places, token_, position_, role_, embedding_norm_);
  apply(x, entry_, batch, extent);
  return x;
}

at::Tensor DeviceModel::finish(const at::Tensor& entry, const DeviceBatch& layout, std::span<const std::int64_t> offsets,
                               std::span<const Extent> reach) const {
  auto x = entry.clone();
  if (router_weight_.defined()) {
    const TokenScores scores = {router_weight_, router_bias_};
    RoutedTokens routed(config_, scores, layout, offsets, shared_.size());
    for (std::size_t r = 0; r < reach.size() && reach[r].sequences > 0; ++r) {
      const auto layer = [&](std::size_t k, const RoutedTokens::Attend& attend, at::Tensor& moved) {
        const Products& weights = shared_[k];
        const auto qkv = at::addmm(weights.qkv.bias, moved, weights.qkv.weight);
        finish_layer(moved, attend(qkv), weights, shared_norms_[k][r], {});
      };
      const auto keys_values = [&](std::size_t k, const at::Tensor& rows) {
        const auto& [weight, bias] = shared_[k].qkv;
        const std::int64_t hidden = config_.hidden_size;
        return at::addmm(bias.narrow(0, hidden, 2 * hidden), rows, weight.narrow(1, hidden, 2 * hidden));
      };
      routed.recur(x, entry, static_cast<int>(r), reach[r], reinject_[r], {layer, keys_values});
    }
  } else {
    recur(x, entry, layout, reach);
  }
  const Extent deep = reach.size() > 1 ? reach[1] : Extent{};
  if (deep.sequences > 0) {
    auto rows = first_rows(x, deep.tokens);
    apply(rows, refinement_, layout, deep);
  }
  apply(x, exit_, layout, reach.front());
  return x;
}

void DeviceModel::recur(at::Tensor& x, const at::Tensor& entry, const DeviceBatch& layout,
                        std::span<const Extent> reach) const {
  const bool sequence = in_sequence(config_.sharing);
  const auto recursions = reach.size();
  const std::size_t last_layer = shared_.size() - 1;
  const auto step = [&](std::size_t k, std::size_t r) {
    const Extent& extent = reach[r];
    if (extent.sequences == 0) return;
    // The next recursion's input is this one's result with the entry states added: of those that go on.
    std::optional<Reinjection> reinjection;
    if ((sequence || k == last_layer) && r + 1 < recursions && reach[r + 1].tokens > 0) {
      reinjection = {first_rows(entry, reach[r + 1].tokens), reinject_[r + 1], reach[r + 1].tokens};
    }
    auto rows = first_rows(x, extent.tokens);
    apply(rows, shared_[k], shared_norms_[k][r], layout, extent, reinjection);
  };
  if (sequence) {
    for (std::size_t k = 0; k <= last_layer; ++k) {
      for (std::size_t r = 0; r < recursions; ++r) step(k, r);
    }
  } else {
    for (std::size_t r = 0; r < recursions; ++r) {
      for (std::size_t k = 0; k <= last_layer; ++k) step(k, r);
    }
  }
}

void DeviceModel::apply(at::Tensor& x, const std::vector<Block>& layers, const DeviceBatch& layout,
                        const Extent& extent) const {
  for (const auto& [weights, norms] : layers) apply(x, weights, norms, layout, extent, {});
}

void DeviceModel::apply(at::Tensor& x, const Products& weights, const Norms& norms, const DeviceBatch& layout,
                        const Extent& extent, const std::optional<Reinjection>& reinjection) const {
  const std::int64_t hidden = x.size(1);
  const auto qkv = at::addmm(weights.qkv.bias, x, weights.qkv.weight);
  const auto part = [&](std::int64_t i) { return qkv.narrow(1, i * hidden, hidden); };
  const auto attended = attend({part(0), part(1), part(2), layout.borders, layout.borders, config_.num_attention_heads},
                               layout, extent);
  finish_layer(x, attended, weights, norms, reinjection);
}

at::Tensor DeviceModel::attend(const TileAttention& call, const DeviceBatch& queries, const Extent& extent) const {
  // Rows of filling are not written, and nothing reads them but their own rows.
  auto out = at::empty({call.query.size(0), call.query.size(1)}, call.query.options());
  const auto run = [&](const at::Tensor& tiles, std::int64_t count, int rows) {
    if (count > 0) tile_attention(call, first_rows(tiles, count), rows, out);
  };
  run(queries.small_tiles, extent.small_tiles, kSmallTile);
  run(queries.large_tiles, extent.large_tiles, kLargeTile);
  return out;
}

/// Everything of a layer after its attention, in place.
void DeviceModel::finish_layer(at::Tensor& x, const at::Tensor& attended, const Products& weights, const Norms& norms,
                               const std::optional<Reinjection>& reinjection) const {
  add_norm_(x, at::mm(attended, weights.out.weight), weights.out.bias, norms.attention, {});
  const bool fused = device_.is_cuda() && dtype_ != at::kFloat;
  const auto& [up, up_bias] = weights.up;
  const auto wide = fused ? at::_addmm_activation(up_bias, x, up, 1, 1, /*use_gelu=*/true)
                          : at::gelu(at::addmm(up_bias, x, up));
  add_norm_(x, at::mm(wide, weights.down.weight), weights.down.bias, norms.mlp, reinjection);
}

}  // namespace taesr
