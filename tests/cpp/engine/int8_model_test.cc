// The layers in int8, on whichever instructions compute them, against the differentiable model in float32.

#include <fstream>
#include <string>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cosine_similarity.h>
#include <ATen/ops/from_blob.h>
#include <gtest/gtest.h>

#include "engine/inference/general_int8.h"
#include "engine/inference/inference_model.h"
#include "model/forward.h"
#include "model/model_folder.h"
#include "model/pooling.h"
#include "support/random_model.h"
#include "support/temporary_directory.h"
#include "taesr/encoder.h"
#include "taesr/errors.h"

#if defined(__x86_64__)
#include "engine/inference/avx512_model.h"
#endif

namespace taesr {
namespace {

namespace fs = std::filesystem;
using testing::alone;
using testing::random_batch;

using Create = std::unique_ptr<const InferenceModel> (*)(const TAESRConfig&, const EncoderWeights&);

struct Path {
  const char* name;
  Create create;
};

TAESRConfig config_of(int heads, Sharing sharing = Sharing::kMiddleCycle) {
  TAESRConfig config = testing::small_config(500, 96, heads);
  config.max_position_embeddings = 600;
  config.sharing = sharing;
  return config;
}

EncoderWeights weights_of(const TAESRConfig& config) {
  return EncoderWeights::resolve(config, testing::random_weights(config), "test");
}

at::Tensor pooled(const InferenceModel& model, const PackedBatch& batch, int recursions) {
  return model.pooled_mean(model.states_from_entry(model.entry_states(batch), batch.offsets, recursions), batch.offsets);
}

double least_cosine(const at::Tensor& a, const at::Tensor& b) {
  return at::cosine_similarity(a.to(at::kDouble), b.to(at::kDouble), 1).min().item<double>();
}

class Int8ModelTest : public ::testing::TestWithParam<Path> {
 protected:
  void SetUp() override {
    if (!GetParam().create(config_of(3), weights_of(config_of(3)))) GTEST_SKIP() << "this processor lacks the instructions";
  }
  at::NoGradGuard no_grad_;
};

TEST_P(Int8ModelTest, StaysNearTheDifferentiableModel) {
  for (const Sharing sharing : {Sharing::kMiddleCycle, Sharing::kMiddleSequence}) {
    const TAESRConfig config = config_of(3, sharing);
    const EncoderWeights weights = weights_of(config);
    const auto model = GetParam().create(config, weights);
    for (const auto& lengths : std::vector<std::vector<std::int64_t>>{{1}, {2, 1, 3}, {513}, {600, 33, 32, 31, 17, 16, 1}}) {
      const auto batch = random_batch(config, lengths);
      const PackedLayout layout(batch.offsets, at::kCPU);
      const int depths[] = {1, 2, 6};
      const auto expected = encoder_states(config, weights, batch, layout, depths);
      for (std::size_t i = 0; i < std::size(depths); ++i) {
        EXPECT_GE(least_cosine(pooled(*model, batch, depths[i]), pooled_mean(expected.hidden[i], layout)), 0.995)
            << to_string(sharing) << " depth " << depths[i] << ", " << lengths.size() << " sequences";
      }
    }
  }
}

TEST_P(Int8ModelTest, ASequenceDoesNotDependOnItsBatch) {
  const TAESRConfig config = config_of(3);
  const auto model = GetParam().create(config, weights_of(config));
  for (const std::int64_t scale : {1, 20}) {  // shared by the threads as one batch; a task for each few sequences
    std::vector<std::int64_t> lengths;
    for (std::int64_t i = 0; i < 65; ++i) lengths.push_back(1 + i * scale * 7 % 400);
    const auto batch = random_batch(config, lengths);
    const auto together = pooled(*model, batch, 3);
    for (std::int64_t i = 0; i < 65; i += 4) {
      EXPECT_GE(least_cosine(pooled(*model, alone(batch, i), 3), together.narrow(0, i, 1)), 1 - 1e-5) << i;
    }
  }
}

TEST_P(Int8ModelTest, TakesWeightsOfAnyFloatingDtype) {
  const TAESRConfig config = config_of(3);
  auto named = testing::random_weights(config);
  for (auto& [name, tensor] : named) tensor = tensor.to(at::kHalf);
  const auto half = GetParam().create(config, EncoderWeights::resolve(config, named, "test"));
  for (auto& [name, tensor] : named) tensor = tensor.to(at::kFloat);
  const auto single = GetParam().create(config, EncoderWeights::resolve(config, named, "test"));
  const auto batch = random_batch(config, {5, 90});
  EXPECT_TRUE(pooled(*half, batch, 2).equal(pooled(*single, batch, 2)));
}

TEST_P(Int8ModelTest, RefusesBatchesThatTheModelCannotRead) {
  const TAESRConfig config = config_of(3);
  const auto model = GetParam().create(config, weights_of(config));
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

constexpr Path kPaths[] = {
    {"general", create_general_int8},
#if defined(__x86_64__)
    {"avx512", create_avx512_int8},
#endif
};
INSTANTIATE_TEST_SUITE_P(Paths, Int8ModelTest, ::testing::ValuesIn(kPaths),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(Int8Model, TheFastestPathServesWhatItCanAndTheGeneralOneTheRest) {
  const at::NoGradGuard no_grad;
  for (const int heads : {3, 6}) {  // heads of 16 dimensions are no multiple of the panels
    const TAESRConfig config = config_of(heads);
    const EncoderWeights weights = weights_of(config);
    const auto batch = random_batch(config, {40, 3});
    const auto model = InferenceModel::create_int8(config, weights);
    EXPECT_GE(least_cosine(pooled(*model, batch, 3), pooled(*create_general_int8(config, weights), batch, 3)), 0.999);
  }
}

TEST(Int8Model, TokenRoutingIsRefused) {
  TAESRConfig config = config_of(3);
  config.token_routing = TokenRouting::kExpertChoice;
  config.token_capacity = {1.0, 0.5};
  EXPECT_THROW((void)InferenceModel::create_int8(config, weights_of(config)), InvalidArgument);
}

double cosine(std::span<const float> a, std::span<const float> b) {
  double product = 0;
  for (std::size_t i = 0; i < a.size(); ++i) product += static_cast<double>(a[i]) * b[i];
  return product;  // of unit rows
}

std::vector<std::string> sample_texts() {
  return {"", "printer offline", "How do I reset the password of my account when the device is lost?",
          "The router decides from the states after the first layers how deep a text goes."};
}

TEST(Int8Encoder, TheBundledModelStaysNearFloat32) {
  const Encoder expected = Encoder::load(TAESR_TEST_MODEL, Precision::kFloat32);
  const Encoder encoder = Encoder::load(TAESR_TEST_MODEL, parse_precision("int8"));
  EXPECT_EQ(encoder.precision(), Precision::kInt8);
  EXPECT_EQ(encoder.fingerprint(), expected.fingerprint());
  for (const std::string depth : {"easy", "medium", "hard"}) {
    const auto wanted = expected.encode(sample_texts(), {.depth = depth}).embeddings;
    const auto got = encoder.encode(sample_texts(), {.depth = depth}).embeddings;
    for (std::size_t i = 0; i < wanted.rows; ++i) EXPECT_GE(cosine(got.row(i), wanted.row(i)), 0.98) << depth << i;
  }
}

TEST(Int8Encoder, EveryHeadReadsItsStates) {
  TAESRConfig config = testing::small_config(
      static_cast<int>(Tokenizer::load(fs::path(TAESR_TEST_MODEL) / "tokenizer.model").size()), 64, 2);
  config.sparse_head = true;
  config.late_size = 16;
  config.router_size = 8;
  config.subspaces = {{"topic", 24}};
  const testing::TemporaryDirectory folder;
  std::ofstream(folder / "config.json") << config.to_json();
  save_weights(folder / "model.safetensors", testing::random_weights(config));
  fs::create_symlink(fs::path(TAESR_TEST_MODEL) / "tokenizer.model", folder / "tokenizer.model");
  const EncodeOptions options{.depth = "medium", .outputs = {.sparse = true, .late = true, .subspaces = {"topic"}}};
  const auto wanted = Encoder::load(folder.path(), Precision::kFloat32).encode(sample_texts(), options);
  const auto got = Encoder::load(folder.path(), Precision::kInt8).encode(sample_texts(), options);
  for (std::size_t i = 0; i < wanted.embeddings.rows; ++i) {
    EXPECT_GE(cosine(got.embeddings.row(i), wanted.embeddings.row(i)), 0.98) << i;
    EXPECT_GE(cosine(got.subspaces.at("topic").row(i), wanted.subspaces.at("topic").row(i)), 0.98) << i;
    for (std::size_t t = 0; t < wanted.late[i].rows; ++t) {
      EXPECT_GE(cosine(got.late[i].row(t), wanted.late[i].row(t)), 0.9) << i << ", token " << t;
    }
    double product = 0, ours = 0, theirs = 0;
    std::map<int, double> weights;
    for (const auto& [piece, weight] : wanted.sparse[i]) theirs += weight * weight, weights[piece] = weight;
    for (const auto& [piece, weight] : got.sparse[i]) ours += weight * weight, product += weight * weights[piece];
    EXPECT_GE(product, 0.8 * std::sqrt(ours * theirs)) << i;
  }
}

}  // namespace
}  // namespace taesr
