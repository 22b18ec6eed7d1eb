#include <algorithm>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>

#include "kernels/active_tokens.h"
#include "kernels/sparse_max.h"

namespace taesr {
namespace {

constexpr std::int64_t kTextsAtOnce = 2048;  // of weights [texts, vocabulary] in memory

SparseTop top_of(const at::Tensor& weights, std::int64_t top) {
  const std::int64_t texts = weights.size(0);
  const std::int64_t vocabulary = weights.size(1);
  // Every text is a sequence of `vocabulary` scores of which `top` are kept.
  const auto numbers = at::arange(texts + 1, weights.options().dtype(at::kLong));
  const auto flat = weights.flatten();
  const auto places = best_rows(flat, {}, numbers * vocabulary, numbers * top, texts * top);
  return {places.remainder(vocabulary).view({texts, top}), flat.index_select(0, places).view({texts, top})};
}

}  // namespace

SparseTop sparse_top(const at::Tensor& states, const at::Tensor& table, const at::Tensor& bias,
                     std::span<const std::int64_t> offsets, std::size_t top) {
  const auto kept = std::min<std::int64_t>(static_cast<std::int64_t>(top), table.size(0));
  const auto texts = static_cast<std::int64_t>(offsets.size()) - 1;
  std::vector<at::Tensor> pieces, weights;
  for (std::int64_t begin = 0; begin < texts; begin += kTextsAtOnce) {
    const std::int64_t end = std::min(texts, begin + kTextsAtOnce);
    const std::int64_t first = offsets[static_cast<std::size_t>(begin)];
    std::vector<std::int64_t> borders;
    for (std::int64_t i = begin; i <= end; ++i) borders.push_back(offsets[static_cast<std::size_t>(i)] - first);
    auto part = top_of(sparse_max(states.narrow(0, first, borders.back()), table, bias, borders).weights, kept);
    pieces.push_back(std::move(part.pieces));
    weights.push_back(std::move(part.weights));
  }
  return {at::cat(pieces), at::cat(weights)};
}

}  // namespace taesr
