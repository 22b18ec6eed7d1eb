#include "model/heads.h"

#include <algorithm>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>

#include "kernels/sparse_pool.h"

namespace taesr {

at::Tensor sparse_transform(const at::Tensor& hidden, const SparseWeights& head, double norm_eps) {
  const auto& [weight, bias] = head.transform;
  const auto widened = at::gelu(at::linear(hidden, weight.to(hidden.dtype()), bias.to(hidden.dtype())));
  return at::layer_norm(widened.to(at::kFloat), {hidden.size(1)}, head.norm.weight.to(at::kFloat),
                        head.norm.bias.to(at::kFloat), norm_eps)
      .to(hidden.dtype());
}

at::Tensor sparse_embedding(const at::Tensor& hidden, const SparseWeights& head, const at::Tensor& table,
                            double norm_eps, std::span<const std::int64_t> offsets) {
  return sparse_pool(sparse_transform(hidden, head, norm_eps), table.to(hidden.dtype()), head.bias, offsets);
}

SparseVector sparse_query_from_table(std::span<const int> tokens, std::span<const float> idf) {
  std::vector<int> pieces(tokens.begin(), tokens.end());
  std::sort(pieces.begin(), pieces.end());
  pieces.erase(std::unique(pieces.begin(), pieces.end()), pieces.end());
  SparseVector query;
  for (const int piece : pieces) {
    const float weight = idf[static_cast<std::size_t>(piece)];
    if (weight > 0) query.push_back({piece, weight});
  }
  return query;
}

at::Tensor late_embedding(const at::Tensor& hidden, const at::Tensor& weight) {
  const auto rows = at::linear(hidden.to(at::kFloat), weight.to(at::kFloat));
  return rows / rows.norm(2, 1, true).clamp_min(1e-12);
}

}  // namespace taesr
