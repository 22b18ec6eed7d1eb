#include "model/router.h"

#include <array>

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/linear.h>

#include "model/pooling.h"

namespace taesr {
namespace {

at::Tensor apply(const at::Tensor& x, const Affine& affine) {
  return at::linear(x, affine.weight.to(x.dtype()), affine.bias.to(x.dtype()));
}

}  // namespace

at::Tensor router_features(const at::Tensor& entry, const PackedLayout& layout) {
  const auto mean = pooled_mean(entry, layout);
  return at::cat({mean, layout.lengths.to(mean.dtype()).log().unsqueeze(1)}, 1);
}

at::Tensor router_logits(const at::Tensor& features, const RouterWeights& router) {
  return apply(at::gelu(apply(features, router.hidden)), router.out);
}

int router_class(std::span<const float> probabilities, double confidence) {
  double enough = 0;
  const int last = static_cast<int>(probabilities.size()) - 1;
  for (int c = 0; c < last; ++c) {
    enough += static_cast<double>(probabilities[static_cast<std::size_t>(c)]);
    if (enough >= confidence) return c;
  }
  return last;
}

int recursions_of_class(const TAESRConfig& config, int depth_class) {
  constexpr std::array<const char*, 3> kNames = {"easy", "medium", "hard"};
  return config.recursion_steps.at(kNames.at(static_cast<std::size_t>(depth_class)));
}

}  // namespace taesr
