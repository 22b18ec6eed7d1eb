// The GPU's engine on the CPU, through the twins of its kernels: its arithmetic is the model's.

#include "engine/cuda/device_encoder.h"

#include <map>
#include <vector>

#include <ATen/Context.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cosine_similarity.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/softmax.h>
#include <gtest/gtest.h>

#include "engine/budget.h"
#include "kernels/sparse_pool.h"
#include "model/forward.h"
#include "model/heads.h"
#include "model/pooling.h"
#include "model/router.h"
#include "support/random_model.h"
#include "taesr/encoder.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

using testing::alone;
using testing::random_batch;

TAESRConfig config_of(Sharing sharing) {
  TAESRConfig config = testing::small_config(200, 48, 3);
  config.max_position_embeddings = 200;
  config.sharing = sharing;
  const bool middle = sharing == Sharing::kMiddleCycle || sharing == Sharing::kMiddleSequence;
  config.entry_layers = middle ? 1 : 0;
  config.refinement_layers = middle ? 1 : 0;
  config.exit_layers = middle ? 1 : 0;
  return config;
}

HostBatch on_host(const PackedBatch& batch) {
  HostBatch host;
  const auto* token = batch.tokens.const_data_ptr<std::int64_t>();
  const auto* role = batch.roles.const_data_ptr<std::int64_t>();
  host.tokens.assign(token, token + batch.tokens.numel());
  host.offsets = batch.offsets;
  host.roles.assign(role, role + batch.roles.numel());
  return host;
}

double least_cosine(const at::Tensor& a, const at::Tensor& b) {
  return at::cosine_similarity(a.to(at::kDouble), b.to(at::kDouble), 1).min().item<double>();
}

void expect_the_models_embeddings(const TAESRConfig& config) {
  config.validate();
  const at::NoGradGuard no_grad;
  const auto weights = EncoderWeights::resolve(config, testing::random_weights(config), "test");
  const DeviceEncoder encoder(config, weights, at::kFloat, at::kCPU);
  const auto batch = random_batch(config, {5, 1, 70, 16, 17, 64, 65, 2});
  const PackedLayout layout(batch.offsets, at::kCPU);
  const int ladder[] = {1, 2, 3, 6};
  std::map<int, at::Tensor> expected;  // by depth
  const auto states = encoder_states(config, weights, batch, layout, ladder).hidden;
  for (std::size_t i = 0; i < states.size(); ++i) {
    expected[ladder[i]] = dense_embedding(pooled_mean(states[i], layout), weights.head);
  }
  for (const auto& depths : std::vector<std::vector<int>>{{1, 1, 1, 1, 1, 1, 1, 1}, {1, 6, 3, 1, 2, 6, 1, 3}}) {
    for (const bool routed : {false, true}) {
      const auto found = encoder.embed(on_host(batch), depths, routed);
      for (std::int64_t i = 0; i < batch.sequences(); ++i) {
        const auto row = expected.at(depths[static_cast<std::size_t>(i)]).narrow(0, i, 1);
        EXPECT_GE(least_cosine(found.narrow(0, i, 1), row), 1 - 1e-5)
            << to_string(config.sharing) << " " << to_string(config.token_routing) << " sequence " << i << " routed " << routed;
      }
    }
  }
}

TEST(DeviceEncoder, GivesEverySequenceOfAMixedBatchTheModelsEmbedding) {
  for (const Sharing sharing : {Sharing::kMiddleCycle, Sharing::kCycle, Sharing::kMiddleSequence, Sharing::kSequence}) {
    expect_the_models_embeddings(config_of(sharing));
  }
}

TEST(DeviceEncoder, RoutesTokensAsTheModelDoes) {
  TAESRConfig config = config_of(Sharing::kMiddleCycle);
  config.token_routing = TokenRouting::kTokenChoice;
  expect_the_models_embeddings(config);
  config.token_routing = TokenRouting::kExpertChoice;
  config.token_capacity = {1.0, 0.6, 0.3};
  expect_the_models_embeddings(config);
  config.token_capacity = {0.5, 0.1};
  config.sharing = Sharing::kCycle;
  config.entry_layers = config.exit_layers = config.refinement_layers = 0;
  expect_the_models_embeddings(config);
}

TEST(DeviceEncoder, TokensMayAllStopAtOnce) {
  TAESRConfig config = config_of(Sharing::kMiddleCycle);
  config.token_routing = TokenRouting::kTokenChoice;
  auto map = testing::random_weights(config);
  map.at("token_router.bias").fill_(-1e6);
  const at::NoGradGuard no_grad;
  const auto weights = EncoderWeights::resolve(config, map, "test");
  const auto batch = random_batch(config, {3, 40});
  const auto found = DeviceEncoder(config, weights, at::kFloat, at::kCPU).embed(on_host(batch), std::vector<int>{6, 2}, false);
  EXPECT_GE(least_cosine(found.narrow(0, 0, 1), encoder_forward(config, weights, alone(batch, 0), 6).pooled), 1 - 1e-5);
  EXPECT_GE(least_cosine(found.narrow(0, 1, 1), encoder_forward(config, weights, alone(batch, 1), 2).pooled), 1 - 1e-5);
}

/// One call with all heads, its windows and what came of them.
struct CallTest : ::testing::Test {
  CallTest() {
    config = config_of(Sharing::kMiddleCycle);
    config.sparse_head = true;
    config.late_size = 16;
    config.router_size = 8;
    config.router_confidence = 0.6;
    config.subspaces = {{"colour", 8}};
    weights = EncoderWeights::resolve(config, testing::random_weights(config), "test");
    for (const std::size_t length : {12, 3, 190, 40, 41, 2, 77}) {
      Window window{windows.size(), {}};
      for (std::size_t i = 0; i < length; ++i) window.ids.push_back(static_cast<int>((i * 31 + length) % 200));
      windows.push_back(std::move(window));
    }
    options.outputs = {.dense = true, .sparse = true, .late = true, .subspaces = {"colour"}};
    options.role = Role::kQuery;
    options.sparse_top = 20;
  }

  [[nodiscard]] PackedBatch batch_of(const Window& window) const {
    std::vector<std::int64_t> ids(window.ids.begin(), window.ids.end());
    const auto size = static_cast<std::int64_t>(ids.size());
    return {at::from_blob(ids.data(), {size}, at::kLong).clone(), {0, size}, at::full({1}, static_cast<int>(Role::kQuery), at::kLong)};
  }

  void expect_row(std::span<const float> found, const at::Tensor& expected) const {
    ASSERT_EQ(static_cast<std::int64_t>(found.size()), expected.numel());
    for (std::size_t k = 0; k < found.size(); ++k) {
      EXPECT_NEAR(found[k], expected.flatten()[static_cast<std::int64_t>(k)].item<float>(), 2e-4);
    }
  }

  void expect_outputs(const WindowDepths& depths, const WindowOutputs& outputs) const {
    for (std::size_t i = 0; i < windows.size(); ++i) {
      const auto batch = batch_of(windows[i]);
      const PackedLayout layout(batch.offsets, at::kCPU);
      const int wanted[] = {depths.of(i), 6};
      const auto hidden = encoder_states(config, weights, batch, layout, wanted).hidden;
      const auto pooled = pooled_mean(hidden[0], layout);
      expect_row(outputs.dense.row(i), dense_embedding(pooled, weights.head));
      expect_row(outputs.subspaces.at("colour").row(i), dense_embedding(pooled_mean(hidden[1], layout), weights.subspaces.at("colour")));
      const auto late = late_embedding(hidden[0], weights.late);
      expect_row(outputs.late[i].values, late.slice(0, 1, late.size(0) - 1));
      const auto sparse = sparse_pool_rows(sparse_transform(hidden[0], *weights.sparse, config.layer_norm_eps), weights.token,
                                           weights.sparse->bias, batch.offsets, options.sparse_top)[0];
      ASSERT_EQ(outputs.sparse[i].size(), sparse.size());
      for (std::size_t k = 0; k < sparse.size(); ++k) EXPECT_EQ(outputs.sparse[i][k].piece, sparse[k].piece);
    }
  }

  TAESRConfig config;
  EncoderWeights weights;
  std::vector<Window> windows;
  EncodeOptions options;
};

using DeviceCall = CallTest;

TEST_F(DeviceCall, LetsTheRouterDecideAndReadsAllHeads) {
  const at::NoGradGuard no_grad;
  const DeviceEncoder encoder(config, weights, at::kFloat, at::kCPU);
  WindowDepths depths(windows.size(), config, *weights.router);
  WindowOutputs outputs(windows.size(), config, options.outputs);
  DeviceEncoder::Call(encoder, windows, options, depths, outputs).run();
  for (std::size_t i = 0; i < windows.size(); ++i) {
    const auto batch = batch_of(windows[i]);
    const PackedLayout layout(batch.offsets, at::kCPU);
    const auto entry = entry_states(config, weights, batch, layout);
    const auto chances = at::softmax(router_logits(router_features(entry, layout), *weights.router), 1).contiguous();
    const std::span<const float> row(chances.const_data_ptr<float>(), 3);
    EXPECT_EQ(depths.of(i), recursions_of_class(config, router_class(row, config.router_confidence)));
    HostBatch host;
    host.append(windows[i].ids, static_cast<int>(Role::kQuery));
    expect_row(row, encoder.router_probabilities(host));
  }
  expect_outputs(depths, outputs);
}

TEST_F(DeviceCall, ServesDeadlinesAsStages) {
  const at::NoGradGuard no_grad;
  const DeviceEncoder encoder(config, weights, at::kFloat, at::kCPU);
  WindowDepths depths(windows.size(), config, *weights.router);
  WindowOutputs outputs(windows.size(), config, options.outputs);
  {
    DeviceEncoder::Call call(encoder, windows, options, depths, outputs);
    Deadline deadline(1e7);
    const int ladder[] = {1, 3, 6};
    run_until(deadline, windows, depths, ladder, 100, [](std::size_t tokens, int depth) { return double(tokens) * (depth + 1); }, call);
  }
  expect_outputs(depths, outputs);
}

TEST(Device, UnknownOnesAndCudaWithoutAGpuAreRefusedWithTheRemedy) {
  for (const char* name : {"gpu", "cuda:", "cuda:x", "cuda:-1", "cuda:1x", ""}) {
    EXPECT_THROW((void)parse_device(name), InvalidArgument) << name;
  }
  EXPECT_TRUE(parse_device("cpu").is_cpu());
  if (at::hasCUDA()) GTEST_SKIP() << "there is a GPU";
  try {
    (void)Encoder::load({}, Precision::kAuto, "cuda");
    FAIL() << "a GPU was found where there is none";
  } catch (const InvalidArgument& error) {
    EXPECT_NE(std::string(error.what()).find("use device \"cpu\""), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace taesr
