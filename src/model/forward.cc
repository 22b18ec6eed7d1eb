#include "model/forward.h"

#include <algorithm>
#include <map>
#include <optional>

#include <ATen/TensorOperators.h>
#include <ATen/ops/addcmul.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/tensor.h>

#include "model/layer.h"
#include "model/pooling.h"
#include "model/token_routing.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

/// One pass over one batch.
class Pass {
 public:
  Pass(const TAESRConfig& config, const EncoderWeights& weights, const PackedLayout& layout,
       const ForwardOptions& options)
      : config_(config),
        weights_(weights),
        layout_(layout),
        settings_{config.num_attention_heads, config.layer_norm_eps, options.checkpoint_layers} {
    if (weights.token_router) router_.emplace(config, *weights.token_router, layout);
  }

  /// States before the recursion [T, hidden]: embeddings, their norm, the entry layers.
  at::Tensor enter(const PackedBatch& batch) {
    const auto sum = at::embedding(weights_.token, batch.tokens) +
                     at::embedding(weights_.position, layout_.positions) +
                     at::embedding(weights_.role, batch.roles.index_select(0, layout_.sequence));
    const auto embedded = at::layer_norm(sum, {config_.hidden_size}, weights_.embedding_norm.weight,
                                         weights_.embedding_norm.bias, config_.layer_norm_eps);
    return apply(embedded.to(weights_.shared.front().qkv.weight.scalar_type()), weights_.entry);
  }

  /// The block of shared layers once more: recursion `r`, from 0.
  at::Tensor recur(const at::Tensor& x, const at::Tensor& entry, int r) {
    if (router_) return recur_routed(x, entry, r);
    auto next = reinject(x, entry, r);
    for (std::size_t k = 0; k < weights_.shared.size(); ++k) next = apply_shared(next, k, r);
    return next;
  }

  /// The sequence schemes: every shared layer `recursions` times, one after the other.
  at::Tensor recur_in_sequence(at::Tensor x, const at::Tensor& entry, int recursions) const {
    for (std::size_t k = 0; k < weights_.shared.size(); ++k) {
      for (int r = 0; r < recursions; ++r) x = apply_shared(reinject(x, entry, r), k, r);
    }
    return x;
  }

  /// What follows `recursions` recursions.
  at::Tensor leave(at::Tensor x, int recursions) const {
    if (recursions > 1) x = apply(x, weights_.refinement);
    return apply(x, weights_.exit);
  }

  std::vector<RoutedRecursion> routing;

 private:
  at::Tensor apply(at::Tensor x, const std::vector<Layer>& layers) const {
    for (const Layer& layer : layers) x = apply_layer(x, layer.weights, layer.norms, layout_, settings_);
    return x;
  }

  at::Tensor apply_shared(const at::Tensor& x, std::size_t k, int r) const {
    return apply_layer(x, weights_.shared[k], weights_.shared_norms[k][static_cast<std::size_t>(r)], layout_, settings_);
  }

  at::Tensor reinject(const at::Tensor& x, const at::Tensor& entry, int r) const {
    return r == 0 ? x : at::addcmul(x, weights_.reinject.select(0, r), entry);
  }

  /// Only the active tokens move; the others keep their states, and the active ones attend to them too.
  at::Tensor recur_routed(const at::Tensor& x, const at::Tensor& entry, int r) {
    const ActiveTokens active = router_->choose(x, r);
    const double share = static_cast<double>(active.layout.tokens()) / static_cast<double>(layout_.tokens());
    routing.push_back({share, active.scores, active.rows});
    if (active.layout.tokens() == 0) return x;
    const auto before = x.index_select(0, active.rows);
    auto moved = reinject(before, entry.index_select(0, active.rows), r);
    for (std::size_t k = 0; k < weights_.shared.size(); ++k) {
      moved = apply_layer(moved, active.layout, x.index_copy(0, active.rows, moved), weights_.shared[k],
                          weights_.shared_norms[k][static_cast<std::size_t>(r)], layout_, settings_);
    }
    return x.index_copy(0, active.rows, before + active.gate * (moved - before));
  }

  const TAESRConfig& config_;
  const EncoderWeights& weights_;
  const PackedLayout& layout_;
  LayerSettings settings_;
  std::optional<TokenRouter> router_;
};

void check_depths(const TAESRConfig& config, std::span<const int> depths) {
  if (depths.empty()) throw InvalidArgument("no depth is asked for");
  for (const int depth : depths) {
    if (depth >= 1 && depth <= config.max_recursions()) continue;
    throw InvalidArgument("depth is " + std::to_string(depth) + "; allowed: 1 to " +
                          std::to_string(config.max_recursions()));
  }
}

/// Places of the tokens of sequences `chosen`, and where these begin when laid end to end.
struct Selection {
  at::Tensor rows;                    // int64 [tokens of the chosen]
  std::vector<std::int64_t> offsets;  // [chosen + 1]
};

Selection select(const PackedLayout& layout, std::span<const std::size_t> chosen) {
  std::vector<std::int64_t> rows;
  Selection selection{{}, {0}};
  for (const std::size_t i : chosen) {
    for (std::int64_t row = layout.offsets[i]; row < layout.offsets[i + 1]; ++row) rows.push_back(row);
    selection.offsets.push_back(static_cast<std::int64_t>(rows.size()));
  }
  selection.rows = at::tensor(rows, at::kLong).to(layout.starts.device());
  return selection;
}

}  // namespace

at::Tensor entry_states(const TAESRConfig& config, const EncoderWeights& weights, const PackedBatch& batch,
                        const PackedLayout& layout, const ForwardOptions& options) {
  if (batch.offsets != layout.offsets) throw InvalidArgument("the layout is that of another batch");
  return Pass(config, weights, layout, options).enter(batch);
}

EncoderStates encoder_states_from_entry(const TAESRConfig& config, const EncoderWeights& weights, at::Tensor entry,
                                        const PackedLayout& layout, std::span<const int> depths,
                                        const ForwardOptions& options) {
  check_depths(config, depths);
  if (entry.dim() != 2 || entry.size(0) != layout.tokens()) {
    throw InvalidArgument("the entry states are those of another batch");
  }
  Pass pass(config, weights, layout, options);
  EncoderStates states;
  states.entry = std::move(entry);
  std::map<int, at::Tensor> finished;
  for (const int depth : depths) finished.try_emplace(depth);
  if (config.sharing == Sharing::kSequence || config.sharing == Sharing::kMiddleSequence) {
    for (auto& [depth, hidden] : finished) {
      hidden = pass.leave(pass.recur_in_sequence(states.entry, states.entry, depth), depth);
    }
  } else {
    auto x = states.entry;
    for (int r = 0; r < finished.rbegin()->first; ++r) {
      x = pass.recur(x, states.entry, r);
      if (const auto found = finished.find(r + 1); found != finished.end()) found->second = pass.leave(x, r + 1);
    }
  }
  for (const int depth : depths) states.hidden.push_back(finished[depth]);
  states.routing = std::move(pass.routing);
  return states;
}

EncoderStates encoder_states(const TAESRConfig& config, const EncoderWeights& weights, const PackedBatch& batch,
                             const PackedLayout& layout, std::span<const int> depths, const ForwardOptions& options) {
  check_depths(config, depths);
  auto entry = entry_states(config, weights, batch, layout, options);
  return encoder_states_from_entry(config, weights, std::move(entry), layout, depths, options);
}

at::Tensor states_at_depths(const TAESRConfig& config, const EncoderWeights& weights, const at::Tensor& entry,
                            const PackedLayout& layout, std::span<const int> depths) {
  if (static_cast<std::int64_t>(depths.size()) != layout.sequences()) {
    throw InvalidArgument(std::to_string(depths.size()) + " depths for " + std::to_string(layout.sequences()) +
                          " sequences");
  }
  std::map<int, std::vector<std::size_t>> by_depth;
  for (std::size_t i = 0; i < depths.size(); ++i) by_depth[depths[i]].push_back(i);
  if (by_depth.size() == 1) {
    return encoder_states_from_entry(config, weights, entry, layout, depths.first(1)).hidden.front();
  }
  auto hidden = at::empty_like(entry);
  for (const auto& [depth, chosen] : by_depth) {
    const Selection part = select(layout, chosen);
    const PackedLayout part_layout(part.offsets, entry.device());
    const int wanted[] = {depth};
    const auto states =
        encoder_states_from_entry(config, weights, entry.index_select(0, part.rows), part_layout, wanted);
    hidden = hidden.index_copy(0, part.rows, states.hidden.front());
  }
  return hidden;
}

EncoderStates encoder_states(const TAESRConfig& config, const EncoderWeights& weights, const PackedBatch& batch,
                             std::span<const int> depths, const ForwardOptions& options) {
  return encoder_states(config, weights, batch, PackedLayout(batch.offsets, batch.tokens.device()), depths, options);
}

EncoderOutput encoder_forward(const TAESRConfig& config, const EncoderWeights& weights, const PackedBatch& batch,
                              int recursions) {
  const PackedLayout layout(batch.offsets, batch.tokens.device());
  const int depths[] = {recursions};
  const auto hidden = encoder_states(config, weights, batch, layout, depths).hidden.front();
  return {hidden, dense_embedding(pooled_mean(hidden, layout), weights.head)};
}

}  // namespace taesr
