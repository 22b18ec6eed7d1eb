#include "model/token_routing.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/argsort.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

namespace taesr {
namespace {

at::Tensor gate_of(const at::Tensor& scores, const at::Tensor& rows, at::ScalarType dtype) {
  return (2 * scores.index_select(0, rows).sigmoid()).unsqueeze(1).to(dtype);
}

}  // namespace

TokenRouter::TokenRouter(const TAESRConfig& config, const TokenRouterWeights& weights, const PackedLayout& layout)
    : config_(config), weights_(weights), layout_(layout) {
  going_ = at::ones({layout.tokens()}, layout.starts.options().dtype(at::kBool));
}

ActiveTokens TokenRouter::choose(const at::Tensor& x, int r) {
  const auto dtype = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const auto scores = at::linear(x.to(dtype), weights_.weight.narrow(0, r, 1).to(dtype)).squeeze(1);
  ActiveTokens active = config_.token_routing == TokenRouting::kExpertChoice
                            ? best_of_each_sequence(scores.detach(), config_.capacity(r))
                            : not_below_zero(scores.detach() + weights_.bias.detach().select(0, r).to(dtype));
  active.gate = gate_of(scores, active.rows, x.scalar_type());
  active.scores = scores;
  going_ = at::zeros_like(going_).index_fill(0, active.rows, true);
  return active;
}

ActiveTokens TokenRouter::best_of_each_sequence(const at::Tensor& scores, double share) const {
  constexpr double kRounding = 1e-9;  // 0.1 of 30 tokens are 3, whatever 0.1 is in binary
  std::vector<std::int64_t> offsets = {0};
  for (std::size_t i = 1; i < layout_.offsets.size(); ++i) {
    const auto length = static_cast<double>(layout_.offsets[i] - layout_.offsets[i - 1]);
    offsets.push_back(offsets.back() + std::max<std::int64_t>(1, std::llround(std::ceil(share * length - kRounding))));
  }
  PackedLayout part = layout_.part(std::move(offsets));
  // Stable sorts: by score, then by sequence. Of equal scores the earlier token wins. Capacities never
  // rise, so there are enough tokens that still go.
  const auto ranks = scores.masked_fill(going_.logical_not(), -std::numeric_limits<double>::infinity());
  const auto by_score = at::argsort(ranks, /*stable=*/true, 0, /*descending=*/true);
  const auto by_sequence = at::argsort(layout_.sequence.index_select(0, by_score), /*stable=*/true, 0, false);
  const auto ranked = by_score.index_select(0, by_sequence);
  const auto chosen = ranked.index_select(0, layout_.starts.index_select(0, part.sequence) + part.positions);
  return {std::get<0>(chosen.sort()), {}, {}, std::move(part)};
}

ActiveTokens TokenRouter::not_below_zero(const at::Tensor& scores) const {
  const auto going = going_.logical_and(scores >= 0);
  const auto rows = going.nonzero().squeeze(1);
  const auto counts = at::zeros({layout_.sequences()}, layout_.lengths.options())
                          .index_add(0, layout_.sequence, going.to(at::kLong))
                          .cpu();
  std::vector<std::int64_t> offsets = {0};
  const auto* count = counts.const_data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < counts.size(0); ++i) offsets.push_back(offsets.back() + count[i]);
  return {rows, {}, {}, layout_.part(std::move(offsets))};
}

}  // namespace taesr
