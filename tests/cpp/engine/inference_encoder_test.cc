// The encoder with every head, whichever path computes, against the differentiable model.

#include <fstream>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/tensor.h>
#include <gtest/gtest.h>

#include "kernels/sparse_pool.h"
#include "model/forward.h"
#include "model/heads.h"
#include "model/model_folder.h"
#include "model/pooling.h"
#include "support/random_model.h"
#include "support/temporary_directory.h"
#include "taesr/encoder.h"

namespace taesr {
namespace {

namespace fs = std::filesystem;

TAESRConfig config_with_heads() {
  const auto vocabulary = Tokenizer::load(fs::path(TAESR_TEST_MODEL) / "tokenizer.model").size();
  TAESRConfig config = testing::small_config(static_cast<int>(vocabulary), 64, 2);
  config.embedding_size = 48;
  config.matryoshka_dimensions = {48};
  config.sparse_head = true;
  config.late_size = 16;
  config.router_size = 8;
  config.subspaces = {{"topic", 24}};
  return config;
}

/// A model folder of random weights, and the same weights for the reference.
struct RandomModel {
  explicit RandomModel(const TAESRConfig& shape) : config(shape) {
    const WeightMap map = testing::random_weights(config);
    weights = EncoderWeights::resolve(config, map, "test");
    std::ofstream(folder / "config.json") << config.to_json();
    save_weights(folder / "model.safetensors", map);
    fs::create_symlink(fs::path(TAESR_TEST_MODEL) / "tokenizer.model", folder / "tokenizer.model");
  }

  testing::TemporaryDirectory folder;
  TAESRConfig config;
  EncoderWeights weights;
};

std::vector<std::string> sample_texts() {
  return {"", "printer offline", "How do I reset the password of my account when the device is lost?",
          "The router decides from the states after the first layers how deep a text goes."};
}

double worst(const at::Tensor& expected, std::span<const float> got) {
  const auto values = at::from_blob(const_cast<float*>(got.data()), {static_cast<std::int64_t>(got.size())}, at::kFloat);
  return (expected.flatten() - values).abs().max().item<double>();
}

void expect_the_models_rows(const RandomModel& model, const Outputs& outputs) {
  const at::NoGradGuard no_grad;
  const Encoder encoder = Encoder::load(model.folder.path(), Precision::kFloat32);
  const auto texts = sample_texts();
  const auto result = encoder.encode(texts, {.role = Role::kQuery, .depth = "auto", .outputs = outputs});
  for (std::size_t i = 0; i < texts.size(); ++i) {
    std::vector<std::int64_t> ids = {model.config.bos_id};
    for (const int id : encoder.tokenizer().encode(texts[i])) ids.push_back(id);
    ids.push_back(model.config.eos_id);
    const auto length = static_cast<std::int64_t>(ids.size());
    const PackedBatch batch = {at::tensor(ids, at::kLong), {0, length}, at::tensor({static_cast<std::int64_t>(Role::kQuery)}, at::kLong)};
    const PackedLayout layout(batch.offsets, at::kCPU);
    const int depths[] = {result.depths[i], model.config.max_recursions()};
    const auto states = encoder_states(model.config, model.weights, batch, layout, depths);
    const auto& hidden = states.hidden[0];
    EXPECT_LE(worst(dense_embedding(pooled_mean(hidden, layout), model.weights.head), result.embeddings.row(i)), 1e-4) << i;
    if (outputs.late && length > 2) {
      EXPECT_LE(worst(late_embedding(hidden, model.weights.late).narrow(0, 1, length - 2), result.late[i].values), 1e-4) << i;
    }
    if (outputs.sparse) {
      const auto row = sparse_embedding(hidden, *model.weights.sparse, model.weights.token, model.config.layer_norm_eps, layout.offsets)[0];
      for (const auto& [piece, weight] : result.sparse[i]) EXPECT_NEAR(row[piece].item<float>(), weight, 1e-4) << i;
    }
    for (const std::string& name : outputs.subspaces) {
      const auto expected = dense_embedding(pooled_mean(states.hidden[1], layout), model.weights.subspaces.at(name));
      EXPECT_LE(worst(expected, result.subspaces.at(name).row(i)), 1e-4) << i;
    }
  }
}

TEST(EncoderPaths, EveryHeadReadsTheModelsStatesAtTheRoutersDepth) {
  const RandomModel model(config_with_heads());
  expect_the_models_rows(model, {.sparse = true, .late = true, .subspaces = {"topic"}});
}

TEST(EncoderPaths, TokenRoutingTakesTheGeneralPath) {
  TAESRConfig config = config_with_heads();
  config.token_routing = TokenRouting::kExpertChoice;
  config.token_capacity = {1.0, 0.5};
  expect_the_models_rows(RandomModel(config), {.sparse = true, .late = true});
}

TEST(EncoderPaths, SizesBesideThePanelsTakeTheGeneralPath) {
  TAESRConfig config = config_with_heads();
  config.num_attention_heads = 4;
  expect_the_models_rows(RandomModel(config), {});
}

}  // namespace
}  // namespace taesr
