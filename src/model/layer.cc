#include "model/layer.h"

#include <vector>

#include <ATen/ops/linear.h>

#include "kernels/fused.h"
#include "kernels/packed_attention.h"
#include "model/checkpointed.h"

namespace taesr {
namespace {

/// Everything of a block after its attention. x, attended [rows, hidden].
at::Tensor finish(const at::Tensor& x, const at::Tensor& attended, const LayerWeights& weights,
                  const LayerNorms& norms, double eps) {
  const auto& [qkv, out, up, down] = weights;
  const auto mixed = linear_add_norm(x, attended, out.weight, out.bias, norms.attention.weight, norms.attention.bias, eps);
  return linear_add_norm(mixed, linear_gelu(mixed, up.weight, up.bias), down.weight, down.bias, norms.mlp.weight,
                         norms.mlp.bias, eps);
}

/// A layer's weights as a list and back: checkpointing keeps lists.
void append(std::vector<at::Tensor>& list, const LayerWeights& weights, const LayerNorms& norms) {
  for (const Affine* affine : {&weights.qkv, &weights.out, &weights.up, &weights.down, &norms.attention, &norms.mlp}) {
    list.push_back(affine->weight);
    list.push_back(affine->bias);
  }
}

std::pair<LayerWeights, LayerNorms> read(const std::vector<at::Tensor>& list, std::size_t first) {
  const auto affine = [&](std::size_t i) { return Affine{list[first + 2 * i], list[first + 2 * i + 1]}; };
  return {{affine(0), affine(1), affine(2), affine(3)}, {affine(4), affine(5)}};
}

/// The rows of the joint product: queries first, then keys and values.
Affine rows_of(const Affine& affine, std::int64_t begin, std::int64_t count) {
  return {affine.weight.narrow(0, begin, count), affine.bias.narrow(0, begin, count)};
}

at::Tensor compute(const at::Tensor& x, const LayerWeights& weights, const LayerNorms& norms,
                   const PackedLayout& layout, const LayerSettings& settings) {
  const auto qkv = at::linear(x, weights.qkv.weight, weights.qkv.bias);
  return finish(x, packed_attention(qkv, layout, settings.heads), weights, norms, settings.norm_eps);
}

at::Tensor compute(const at::Tensor& x, const PackedLayout& active, const at::Tensor& states,
                   const LayerWeights& weights, const LayerNorms& norms, const PackedLayout& layout,
                   const LayerSettings& settings) {
  const std::int64_t hidden = x.size(1);
  const auto query = rows_of(weights.qkv, 0, hidden);
  const auto rest = rows_of(weights.qkv, hidden, 2 * hidden);
  const auto attended = packed_attention(at::linear(x, query.weight, query.bias), active,
                                         at::linear(states, rest.weight, rest.bias), layout, settings.heads);
  return finish(x, attended, weights, norms, settings.norm_eps);
}

}  // namespace

at::Tensor apply_layer(const at::Tensor& x, const LayerWeights& weights, const LayerNorms& norms,
                       const PackedLayout& layout, const LayerSettings& settings) {
  if (!settings.checkpoint) return compute(x, weights, norms, layout, settings);
  std::vector<at::Tensor> inputs = {x};
  append(inputs, weights, norms);
  return checkpointed(
      [layout, settings](const std::vector<at::Tensor>& list) {
        const auto [w, n] = read(list, 1);
        return compute(list[0], w, n, layout, settings);
      },
      inputs);
}

at::Tensor apply_layer(const at::Tensor& x, const PackedLayout& active, const at::Tensor& states,
                       const LayerWeights& weights, const LayerNorms& norms, const PackedLayout& layout,
                       const LayerSettings& settings) {
  if (!settings.checkpoint) return compute(x, active, states, weights, norms, layout, settings);
  std::vector<at::Tensor> inputs = {x, states};
  append(inputs, weights, norms);
  return checkpointed(
      [layout, active, settings](const std::vector<at::Tensor>& list) {
        const auto [w, n] = read(list, 2);
        return compute(list[0], active, list[1], w, n, layout, settings);
      },
      inputs);
}

}  // namespace taesr
