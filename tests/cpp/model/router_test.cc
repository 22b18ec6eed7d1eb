#include "model/router.h"

#include <array>
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/erf.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include "model/forward.h"
#include "support/random_model.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

using testing::alone;

TAESRConfig small_config(Sharing sharing = Sharing::kMiddleCycle) {
  TAESRConfig config = testing::small_config(40, 16, 2);
  config.sharing = sharing;
  config.recursion_steps = {{"easy", 1}, {"medium", 2}, {"hard", 4}};
  config.router_size = 5;
  return config;
}

EncoderWeights random_weights(const TAESRConfig& config) {
  return EncoderWeights::resolve(config, testing::random_weights(config), "weights");
}

PackedBatch some_batch() { return testing::random_batch(small_config(), {3, 1, 7, 2, 5}); }

TEST(Router, LogitsAreTheDefinition) {
  const auto entry = at::randn({6, 4});
  const PackedLayout layout({0, 2, 6}, at::kCPU);
  const auto features = router_features(entry, layout);
  const auto mean = at::cat({entry.narrow(0, 0, 2).mean(0, true), entry.narrow(0, 2, 4).mean(0, true)});
  const auto expected = at::cat({mean, at::tensor({std::log(2.0f), std::log(4.0f)}).unsqueeze(1)}, 1);
  EXPECT_TRUE(at::allclose(features, expected, 1e-5, 1e-6));
  const RouterWeights router{{at::randn({7, 5}), at::randn({7})}, {at::randn({3, 7}), at::randn({3})}};
  const auto widened = at::matmul(expected, router.hidden.weight.t()) + router.hidden.bias;
  const auto gelu = widened * 0.5 * (1 + at::erf(widened / std::sqrt(2.0)));
  const auto logits = at::matmul(gelu, router.out.weight.t()) + router.out.bias;
  EXPECT_TRUE(at::allclose(router_logits(features, router), logits, 1e-4, 1e-5));
}

TEST(Router, HalfPrecisionStatesGiveFloatFeatures) {
  const PackedLayout layout({0, 3}, at::kCPU);
  EXPECT_EQ(router_features(at::randn({3, 4}).to(at::kBFloat16), layout).scalar_type(), at::kFloat);
}

TEST(Router, TakesTheSmallestClassThatIsProbablyEnough) {
  const std::array<float, 3> probabilities = {0.25f, 0.5f, 0.25f};
  EXPECT_EQ(router_class(probabilities, 0), 0);
  EXPECT_EQ(router_class(probabilities, 0.25), 0);
  EXPECT_EQ(router_class(probabilities, 0.26), 1);
  EXPECT_EQ(router_class(probabilities, 0.75), 1);
  EXPECT_EQ(router_class(probabilities, 0.76), 2);
  EXPECT_EQ(router_class(probabilities, 1), 2);
}

TEST(Router, ClassesAreTheNamedDepths) {
  const auto config = small_config();
  EXPECT_EQ(recursions_of_class(config, 0), 1);
  EXPECT_EQ(recursions_of_class(config, 1), 2);
  EXPECT_EQ(recursions_of_class(config, 2), 4);
}

TEST(Router, ContinuingFromEntryStatesIsTheWholePass) {
  for (const Sharing sharing : {Sharing::kMiddleCycle, Sharing::kMiddleSequence}) {
    const auto config = small_config(sharing);
    const auto weights = random_weights(config);
    const auto batch = some_batch();
    const PackedLayout layout(batch.offsets, at::kCPU);
    const std::array<int, 3> depths = {1, 2, 4};
    const auto whole = encoder_states(config, weights, batch, layout, depths);
    const auto entry = entry_states(config, weights, batch, layout);
    EXPECT_TRUE(at::equal(entry, whole.entry));
    const auto rest = encoder_states_from_entry(config, weights, entry, layout, depths);
    for (std::size_t i = 0; i < depths.size(); ++i) EXPECT_TRUE(at::equal(rest.hidden[i], whole.hidden[i]));
  }
}

TEST(Router, EachSequenceHasTheStatesOfItsOwnDepth) {
  for (const Sharing sharing : {Sharing::kMiddleCycle, Sharing::kMiddleSequence}) {
    const auto config = small_config(sharing);
    const auto weights = random_weights(config);
    const auto batch = some_batch();
    const PackedLayout layout(batch.offsets, at::kCPU);
    const auto entry = entry_states(config, weights, batch, layout);
    const std::vector<int> depths = {4, 1, 2, 1, 4};
    const auto mixed = states_at_depths(config, weights, entry, layout, depths);
    for (std::int64_t i = 0; i < batch.sequences(); ++i) {
      const auto one = alone(batch, i);
      const auto expected = encoder_forward(config, weights, one, depths[static_cast<std::size_t>(i)]).hidden;
      const auto begin = batch.offsets[static_cast<std::size_t>(i)];
      EXPECT_TRUE(at::allclose(mixed.narrow(0, begin, expected.size(0)), expected, 1e-4, 1e-5)) << "sequence " << i;
    }
  }
}

TEST(Router, GradientsReachTheEntryStatesOfEverySequence) {
  const auto config = small_config();
  const auto weights = random_weights(config);
  const auto batch = some_batch();
  const PackedLayout layout(batch.offsets, at::kCPU);
  const auto entry = entry_states(config, weights, batch, layout).detach().requires_grad_();
  const std::vector<int> depths = {4, 1, 2, 1, 4};
  // A sum of the states would be constant: the last norm centres them.
  states_at_depths(config, weights, entry, layout, depths).pow(3).sum().backward();
  EXPECT_TRUE((entry.grad().abs().sum(1) > 0).all().item<bool>());
}

TEST(Router, RefusesDepthsAndStatesThatDoNotFit) {
  const auto config = small_config();
  const auto weights = random_weights(config);
  const auto batch = some_batch();
  const PackedLayout layout(batch.offsets, at::kCPU);
  const auto entry = entry_states(config, weights, batch, layout);
  EXPECT_THROW((void)states_at_depths(config, weights, entry, layout, std::vector<int>{1, 2}), InvalidArgument);
  EXPECT_THROW((void)states_at_depths(config, weights, entry, layout, std::vector<int>{1, 1, 1, 1, 5}), InvalidArgument);
  const std::array<int, 1> depth = {1};
  EXPECT_THROW((void)encoder_states_from_entry(config, weights, entry.narrow(0, 0, 5), layout, depth), InvalidArgument);
}

TEST(Router, ConfidenceOutOfRangeIsRefused) {
  auto config = small_config();
  config.router_confidence = 1.5;
  EXPECT_THROW(config.validate(), InvalidArgument);
  config.router_confidence = std::nan("");
  EXPECT_THROW(config.validate(), InvalidArgument);
}

}  // namespace
}  // namespace taesr
