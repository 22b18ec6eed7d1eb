#include "engine/inference/inference_model.h"

#include <algorithm>
#include <thread>

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cosine_similarity.h>
#include <gtest/gtest.h>

#include "model/forward.h"
#include "model/pooling.h"
#include "support/random_model.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

using testing::alone;
using testing::random_batch;

TAESRConfig small_config(Sharing sharing = Sharing::kMiddleCycle) {
  TAESRConfig config = testing::small_config(500, 96, 3);
  config.intermediate_size = 160;
  config.max_position_embeddings = 600;
  config.sharing = sharing;
  const bool middle = sharing == Sharing::kMiddleCycle || sharing == Sharing::kMiddleSequence;
  config.entry_layers = middle ? 2 : 0;
  config.refinement_layers = middle ? 1 : 0;
  config.exit_layers = middle ? 1 : 0;
  return config;
}

EncoderWeights random_weights(const TAESRConfig& config, at::ScalarType dtype) {
  WeightMap weights = testing::random_weights(config);
  for (auto& [name, values] : weights) {
    if (!name.starts_with("head.")) values = values.to(dtype);
  }
  return EncoderWeights::resolve(config, weights, "test");
}

at::Tensor pooled(const InferenceModel& model, const PackedBatch& batch, int recursions) {
  return model.pooled_mean(model.states_from_entry(model.entry_states(batch), batch.offsets, recursions), batch.offsets);
}

double least_cosine(const at::Tensor& a, const at::Tensor& b) {
  return at::cosine_similarity(a.to(at::kDouble), b.to(at::kDouble), 1).min().item<double>();
}

class InferenceModelTest : public ::testing::TestWithParam<at::ScalarType> {
 protected:
  void SetUp() override {
    if (!InferenceModel::create(small_config(), random_weights(small_config(), GetParam()))) {
      GTEST_SKIP() << "this processor takes the general path";
    }
  }
  [[nodiscard]] double tolerance(double single, double half) const { return GetParam() == at::kFloat ? single : half; }
};

TEST_P(InferenceModelTest, ComputesWhatTheDifferentiableModelDoes) {
  const at::NoGradGuard no_grad;
  for (const Sharing sharing : {Sharing::kMiddleCycle, Sharing::kCycle, Sharing::kMiddleSequence, Sharing::kSequence}) {
    const TAESRConfig config = small_config(sharing);
    const EncoderWeights weights = random_weights(config, GetParam());
    const auto model = InferenceModel::create(config, weights);
    for (const auto& lengths : std::vector<std::vector<std::int64_t>>{{1}, {2, 1, 3}, {513}, {600, 33, 32, 31, 17, 16, 1}}) {
      const auto batch = random_batch(config, lengths);
      const PackedLayout layout(batch.offsets, at::kCPU);
      const int depths[] = {1, 2, 6};
      const auto expected = encoder_states(config, weights, batch, layout, depths);
      const auto entry = model->entry_states(batch);
      EXPECT_GE(least_cosine(entry, expected.entry), 1 - tolerance(1e-6, 1e-4));
      for (std::size_t i = 0; i < std::size(depths); ++i) {
        const auto states = model->states_from_entry(entry, batch.offsets, depths[i]);
        ASSERT_EQ(states.scalar_type(), GetParam());
        EXPECT_GE(least_cosine(states, expected.hidden[i]), 1 - tolerance(1e-5, 1e-3)) << to_string(sharing) << depths[i];
        // The mean of one token is its state, and no nearer than that; over several, roundings cancel out.
        const bool averaged = std::find(lengths.begin(), lengths.end(), 1) == lengths.end();
        EXPECT_GE(least_cosine(model->pooled_mean(states, batch.offsets), pooled_mean(expected.hidden[i], layout)),
                  1 - tolerance(1e-5, averaged ? 1e-4 : 1e-3))
            << to_string(sharing) << " depth " << depths[i] << ", " << lengths.size() << " sequences";
      }
    }
  }
}

TEST_P(InferenceModelTest, ASequenceDoesNotDependOnItsBatch) {
  const at::NoGradGuard no_grad;
  const TAESRConfig config = small_config();
  const auto model = InferenceModel::create(config, random_weights(config, GetParam()));
  for (const std::int64_t scale : {1, 20}) {  // shared by the threads as one batch; a task for each few sequences
    std::vector<std::int64_t> lengths;
    for (std::int64_t i = 0; i < 65; ++i) lengths.push_back(1 + i * scale * 7 % 400);
    const auto batch = random_batch(config, lengths);
    const auto together = pooled(*model, batch, 3);
    for (std::int64_t i = 0; i < batch.sequences(); i += 4) {
      const auto row = together.narrow(0, i, 1);
      EXPECT_GE(least_cosine(pooled(*model, alone(batch, i), 3), row), 1 - tolerance(1e-6, 1e-4)) << i;
    }
  }
}

TEST_P(InferenceModelTest, ThreadsShareItSafely) {
  const TAESRConfig config = small_config();
  const auto model = InferenceModel::create(config, random_weights(config, GetParam()));
  const auto batch = random_batch(config, {90, 41, 7, 300});
  at::Tensor expected;
  {
    const at::NoGradGuard no_grad;
    expected = pooled(*model, batch, 2);
  }
  std::vector<double> worst(4, 0);
  std::vector<std::thread> threads;
  for (double& least : worst) {
    threads.emplace_back([&] {
      const at::NoGradGuard no_grad;
      least = 1;
      for (int i = 0; i < 5; ++i) least = std::min(least, least_cosine(pooled(*model, batch, 2), expected));
    });
  }
  for (auto& thread : threads) thread.join();
  for (const double least : worst) EXPECT_GE(least, 1 - tolerance(1e-6, 1e-4));
}

TEST_P(InferenceModelTest, RefusesBatchesThatTheModelCannotRead) {
  const TAESRConfig config = small_config();
  const auto model = InferenceModel::create(config, random_weights(config, GetParam()));
  EXPECT_THROW((void)model->entry_states(random_batch(config, {})), InvalidArgument);
  EXPECT_THROW((void)model->entry_states(random_batch(config, {3, 0, 2})), InvalidArgument);
  EXPECT_THROW((void)model->entry_states(random_batch(config, {601})), InvalidArgument);
  auto batch = random_batch(config, {3, 2});
  const auto entry = model->entry_states(batch);
  EXPECT_THROW((void)model->states_from_entry(entry, batch.offsets, 0), InvalidArgument);
  EXPECT_THROW((void)model->states_from_entry(entry, batch.offsets, 7), InvalidArgument);
  EXPECT_THROW((void)model->states_from_entry(entry.narrow(0, 0, 4), batch.offsets, 1), InvalidArgument);
  batch.tokens = batch.tokens + config.vocab_size;
  EXPECT_THROW((void)model->entry_states(batch), InvalidArgument);
}

TEST_P(InferenceModelTest, LeavesToTheGeneralPathWhatItDoesNotCompute) {
  TAESRConfig config = small_config();
  config.num_attention_heads = 6;  // heads of 16 dimensions
  EXPECT_EQ(InferenceModel::create(config, random_weights(config, GetParam())), nullptr);
  config = small_config();
  config.token_routing = TokenRouting::kExpertChoice;
  config.token_capacity = {1.0, 0.5};
  EXPECT_EQ(InferenceModel::create(config, random_weights(config, GetParam())), nullptr);
}

INSTANTIATE_TEST_SUITE_P(Precisions, InferenceModelTest, ::testing::Values(at::kFloat, at::kBFloat16),
                         [](const auto& info) { return info.param == at::kFloat ? "float32" : "bfloat16"; });

}  // namespace
}  // namespace taesr
