// The GPU's decoder: on the CPU through the twins of its kernels, and on a GPU where there is one.

#include <algorithm>
#include <cmath>
#include <random>
#include <set>

#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "decoder/device/device_kv_cache.h"
#include "decoder/generation_batch.h"
#include "decoder/host_pass.h"
#include "support/decoder_cases.h"
#include "support/random_decoder.h"
#include "support/routed_gguf_decoder.h"
#include "support/temporary_directory.h"
#include "taesr/errors.h"
#include "taesr/generation_queue.h"

namespace taesr {
namespace {

using Case = testing::DecoderCase;

std::string name_of_case(const ::testing::TestParamInfo<Case>& info) {
  const auto& [sharing, routing, caching, gate] = info.param;
  return std::string(name_of(sharing)) + "_" + name_of(routing) + "_" + name_of(gate) + "_" +
         (caching == KvCaching::kFull ? "full" : "shared");
}

/// The devices that are here: on the CPU the kernels' twins.
std::vector<at::Device> devices() {
  std::vector<at::Device> all = {at::kCPU};
  if (at::hasCUDA()) all.emplace_back(at::kCUDA, 0);
  return all;
}

/// Small products on one thread: several would spend their time waiting for each other.
class OneThread {
 public:
  OneThread() { at::set_num_threads(1); }
  ~OneThread() { at::set_num_threads(threads_); }

 private:
  int threads_ = at::get_num_threads();
};

/// Largest difference relative to the largest value.
double difference(std::span<const float> found, std::span<const float> expected) {
  EXPECT_EQ(found.size(), expected.size());
  double worst = 0;
  double largest = 0;
  for (std::size_t i = 0; i < std::min(found.size(), expected.size()); ++i) {
    worst = std::max(worst, std::abs(static_cast<double>(found[i]) - expected[i]));
    largest = std::max(largest, std::abs(static_cast<double>(expected[i])));
  }
  return std::isnan(worst) ? 1 : worst / largest;
}

/// A model on the CPU, and the same on a device.
class DecoderOf : public ::testing::TestWithParam<Case> {
 protected:
  void make(std::int64_t head_dim, at::ScalarType dtype, at::Device device) {
    config_ = testing::small_decoder(GetParam());
    config_.head_dim = head_dim;
    config_.max_positions = 700;
    const testing::TemporaryDirectory folder;
    testing::save(testing::random_decoder_weights(config_, 5), folder / "m.safetensors");
    const auto precision = dtype == at::kFloat ? WeightPrecision::kFloat32 : WeightPrecision::kBFloat16;
    weights_.emplace(load_decoder_weights(config_, precision, folder / "m.safetensors"));
    decoder_ = std::make_unique<DeviceDecoder>(config_, *weights_, GetParam().caching, dtype, device);
  }

  [[nodiscard]] std::vector<int> text(std::size_t size, unsigned seed = 7) const {
    std::mt19937 random(seed);
    std::vector<int> tokens(size);
    for (int& token : tokens) token = static_cast<int>(random() % 40);
    return tokens;
  }

  [[nodiscard]] std::vector<float> on_cpu(const std::vector<int>& tokens) const {
    HostKvCache cache(config_, GetParam().caching);
    HostPass pass(config_, *weights_);
    const auto logits = pass.run(tokens, cache, LogitsOf::kAllTokens).logits();
    return {logits.begin(), logits.end()};
  }

  OneThread one_thread_;
  DecoderConfig config_;
  std::optional<DecoderWeights> weights_;
  std::unique_ptr<DeviceDecoder> decoder_;
};

TEST_P(DecoderOf, LogitsRecursionsAndKvBytesAreTheCpus) {
  for (const at::Device device : devices()) {
    for (const std::int64_t head_dim : {4, 32, 64, 128}) {
      make(head_dim, at::kFloat, device);
      const auto tokens = text(37);
      HostKvCache expected_cache(config_, GetParam().caching);
      HostPass expected_pass(config_, *weights_);
      const Segment& expected = expected_pass.run(tokens, expected_cache, LogitsOf::kAllTokens);
      const auto pass = decoder_->make_pass();
      const auto cache = decoder_->make_cache();
      const Segment& found = pass->run(tokens, *cache, LogitsOf::kAllTokens);
      EXPECT_LT(difference(found.logits(), expected.logits()), 1e-4) << device << ", heads of " << head_dim;
      EXPECT_EQ(found.recursions(), expected.recursions());
      EXPECT_EQ(cache->bytes(), expected_cache.bytes());
      EXPECT_EQ(cache->bytes_read(), expected_cache.bytes_read());
      EXPECT_EQ(cache->length(), 37);
    }
  }
}

TEST_P(DecoderOf, CachedDecodingOfMixedSequencesEqualsEachTextAlone) {
  struct Running {
    std::vector<int> tokens;
    std::unique_ptr<KvCache> cache;
    Segment segment = {};
    std::size_t read = 0;
    std::vector<float> logits = {};
  };
  for (const at::Device device : devices()) {
    make(32, at::kFloat, device);
    std::vector<Running> all;
    for (unsigned i = 0; i < 7; ++i) all.push_back({text(3 + 5 * i, i), decoder_->make_cache()});
    const auto pass = decoder_->make_pass();
    std::mt19937 random(11);
    for (bool more = true; more;) {
      more = false;
      std::vector<Segment*> step;
      for (Running& one : all) {
        if (one.segment.finished()) {
          if (one.read == one.tokens.size()) continue;
          more = true;
          if (random() % 3 == 0) continue;  // it joins later
          const std::size_t part = std::min<std::size_t>(1 + random() % 4, one.tokens.size() - one.read);
          one.segment.begin(std::span(one.tokens).subspan(one.read, part), *one.cache, LogitsOf::kAllTokens);
          one.read += part;
        }
        more = true;
        step.push_back(&one.segment);
      }
      if (step.empty()) continue;
      std::shuffle(step.begin(), step.end(), random);
      pass->step(step);
      for (Running& one : all) {
        const bool stepped = std::find(step.begin(), step.end(), &one.segment) != step.end();
        if (!stepped || !one.segment.finished()) continue;
        const auto logits = one.segment.logits();
        one.logits.insert(one.logits.end(), logits.begin(), logits.end());
      }
    }
    for (const Running& one : all) EXPECT_LT(difference(one.logits, on_cpu(one.tokens)), 1e-4) << device;
  }
}

TEST_P(DecoderOf, BFloat16IsNearTheCpusWithTheSameWeights) {
  if (GetParam().routing != Routing::kNone) GTEST_SKIP() << "rounding sends tokens another way";
  for (const at::Device device : devices()) {
    make(64, at::kBFloat16, device);
    const auto tokens = text(50);
    const auto pass = decoder_->make_pass();
    const auto cache = decoder_->make_cache();
    const auto found = pass->run(tokens, *cache, LogitsOf::kAllTokens).logits();
    // Six or eight layers, each of which rounds what it adds to 8 bits.
    EXPECT_LT(difference(found, on_cpu(tokens)), 0.05) << device;
    HostKvCache expected(config_, GetParam().caching);
    HostPass host(config_, *weights_);
    (void)host.run(tokens, expected, LogitsOf::kNone);
    EXPECT_EQ(cache->bytes(), expected.bytes() / 2);
  }
}

TEST_P(DecoderOf, LongTextsAreSplitWithoutADifference) {
  for (const at::Device device : devices()) {
    if (device.is_cpu()) continue;  // its twin does not split
    for (const std::int64_t head_dim : {4, 32, 64, 128}) {
      make(head_dim, at::kFloat, device);
      const auto tokens = text(690);
      const auto pass = decoder_->make_pass();
      const auto cache = decoder_->make_cache();
      (void)pass->run(std::span(tokens).first(688), *cache, LogitsOf::kNone);
      for (const std::size_t last : {688u, 689u}) {
        const auto token = std::span(tokens).subspan(last, 1);
        const auto found = pass->run(token, *cache, LogitsOf::kLastToken).logits();
        const auto expected = on_cpu({tokens.data(), tokens.data() + last + 1});
        EXPECT_LT(difference(found, std::span(expected).last(40)), 1e-4) << "heads of " << head_dim;
      }
    }
  }
}

TEST_P(DecoderOf, TheBestScoresAreThoseOfTheLogits) {
  for (const at::Device device : devices()) {
    make(32, at::kFloat, device);
    const auto tokens = text(12);
    const auto pass = decoder_->make_pass();
    const auto run = [&](std::size_t enough) {
      const auto cache = decoder_->make_cache();
      const auto best = pass->run(tokens, *cache, LogitsOf::kLastToken, enough).best();
      return std::vector<ScoredToken>(best.begin(), best.end());
    };
    const auto cache = decoder_->make_cache();
    const auto logits = pass->run(tokens, *cache, LogitsOf::kLastToken).logits();
    std::vector<int> order(40);
    for (int i = 0; i < 40; ++i) order[static_cast<std::size_t>(i)] = i;
    std::ranges::sort(order, [&](int a, int b) {
      return logits[static_cast<std::size_t>(a)] > logits[static_cast<std::size_t>(b)];
    });
    const auto one = run(1);
    ASSERT_EQ(one.size(), 1u);
    EXPECT_EQ(one[0].token, order[0]);
    for (const std::size_t enough : {2u, 30u, 99u}) {
      const auto best = run(enough);
      ASSERT_EQ(best.size(), std::min<std::size_t>(enough, 40));
      for (std::size_t i = 0; i < best.size(); ++i) EXPECT_EQ(best[i].token, order[i]);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Models, DecoderOf, ::testing::ValuesIn(testing::decoder_cases({Gate::kPreserving, Gate::kScaled})),
                         name_of_case);

/// Texts beside each other, by a decoder from a file.
class DeviceTexts : public ::testing::TestWithParam<bool> {
 protected:
  std::shared_ptr<LoadedDecoder> load(at::Device device, Routing routing = Routing::kExpertChoice) {
    auto model = read_decoder(testing::write_routed_gguf(folder_, {.routing = routing}), {});
    model->device =
        std::make_shared<DeviceDecoder>(model->config, *model->weights, KvCaching::kFull, at::kFloat, device);
    return model;
  }

  OneThread one_thread_;
  testing::TemporaryDirectory folder_;
};

TEST_P(DeviceTexts, AreThoseOfTheCpuWhicheverRequestsAreBesideThem) {
  const Decoder cpu = Decoder::load(testing::write_routed_gguf(folder_));
  for (const at::Device device : devices()) {
    const auto model = load(device);
    GenerationBatch batch(*model, 50, GetParam());
    std::vector<std::unique_ptr<BatchedText>> texts;
    std::vector<Generation> expected;
    std::mt19937 random(3);
    for (std::size_t i = 0; i < 30; ++i) {
      std::vector<int> prompt(1 + random() % 40);
      for (int& token : prompt) token = static_cast<int>(random() % 256);
      const GenerateOptions options = {.max_tokens = 1 + random() % 20,
                                       .temperature = i % 3 == 0 ? 0.0 : 1.2,
                                       .top_k = i % 2 == 0 ? 30u : 0u,
                                       .top_p = i % 4 == 0 ? 0.9 : 1,
                                       .repetition_penalty = i % 5 == 0 ? 1.3 : 1.0,
                                       .seed = i};
      expected.push_back(cpu.generate(prompt, options));
      texts.push_back(std::make_unique<BatchedText>(model, prompt, options));
      batch.add(*texts.back());
    }
    std::size_t done = 0;
    const auto take_complete = [&] {  // while the others' next tokens are on their way
      for (auto& text : texts) {
        if (!text || !text->state.complete()) continue;
        const auto i = static_cast<std::size_t>(&text - texts.data());
        EXPECT_EQ(text->state.result().tokens, expected[i].tokens) << "request " << i << " on " << device;
        EXPECT_EQ(text->state.result().text, expected[i].text);
        EXPECT_EQ(text->state.result().kv_bytes, expected[i].kv_bytes);
        batch.remove(*text);
        text.reset();
        ++done;
      }
    };
    while (done < texts.size()) (void)batch.step(take_complete);
  }
}

TEST_P(DeviceTexts, MoreThanAreScoredAtATimeAreThoseOfTheCpuToo) {
  const Decoder cpu = Decoder::load(testing::write_routed_gguf(folder_));
  const auto prompt = [](std::size_t i) { return std::vector<int>{static_cast<int>(97 + i % 20)}; };
  const auto options = [](std::size_t i) {
    return GenerateOptions{.max_tokens = 3, .temperature = i % 2 == 0 ? 0.0 : 1.0, .top_k = 4, .seed = i % 20};
  };
  std::vector<Generation> expected;
  for (std::size_t i = 0; i < 20; ++i) expected.push_back(cpu.generate(prompt(i), options(i)));
  for (const at::Device device : devices()) {
    const auto model = load(device);
    GenerationBatch batch(*model, 4000, GetParam());
    std::vector<std::unique_ptr<BatchedText>> texts;
    for (std::size_t i = 0; i < 2100; ++i) {
      texts.push_back(std::make_unique<BatchedText>(model, prompt(i), options(i)));
      batch.add(*texts.back());
    }
    const auto complete = [](const auto& text) { return text->state.complete(); };
    while (!std::all_of(texts.begin(), texts.end(), complete)) (void)batch.step();
    for (std::size_t i = 0; i < texts.size(); ++i) {
      EXPECT_EQ(texts[i]->state.result().tokens, expected[i % 20].tokens) << "request " << i << " on " << device;
    }
  }
}

TEST_P(DeviceTexts, TextsThatLeaveBetweenRecursionsGiveTheirMemoryBack) {
  for (const at::Device device : devices()) {
    const auto model = load(device, Routing::kTokenChoice);
    GenerationBatch batch(*model, 400, GetParam());
    const std::vector<int> prompt = {97, 98, 99, 100, 101, 102};
    for (int round = 0; round < 60; ++round) {
      BatchedText first(model, prompt, {.max_tokens = 8});
      BatchedText second(model, prompt, {.max_tokens = 8});
      batch.add(first);
      batch.add(second);
      (void)batch.step();
      batch.remove(first);  // half way
      while (!second.state.complete()) (void)batch.step();
      batch.remove(second);
      EXPECT_EQ(second.state.result().tokens.size(), 8u);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Refill, DeviceTexts, ::testing::Bool());

TEST(DeviceDecoder, DamagedWeightsAreReported) {
  const testing::TemporaryDirectory folder;
  for (const at::Device device : devices()) {
    auto model = read_decoder(testing::write_routed_gguf(folder, {.scale = 1.5e38F}), {});
    model->device =
        std::make_shared<DeviceDecoder>(model->config, *model->weights, KvCaching::kFull, at::kFloat, device);
    for (const double temperature : {0.0, 1.0}) {
      GenerationBatch batch(*model, 50, true);
      BatchedText text(model, std::vector<int>{97, 98}, {.temperature = temperature, .top_k = 5});
      batch.add(text);
      while (!text.failure && !text.state.complete()) (void)batch.step();
      EXPECT_TRUE(text.failure) << device;
    }
  }
}

TEST(DeviceDecoder, WithoutAGpuTheErrorNamesTheRemedy) {
  const testing::TemporaryDirectory folder;
  const auto path = testing::write_routed_gguf(folder);
  EXPECT_THROW((void)Decoder::load(path, {.device = "gpu"}), InvalidArgument);
  if (at::hasCUDA()) {
    const DecoderOptions stored = {.precision = WeightPrecision::kStored, .device = "cuda"};
    EXPECT_THROW((void)Decoder::load(path, stored), InvalidArgument);
    return;
  }
  try {
    (void)Decoder::load(path, {.device = "cuda"});
    FAIL() << "a GPU was found where there is none";
  } catch (const InvalidArgument& error) {
    EXPECT_NE(std::string(error.what()).find("use device \"cpu\""), std::string::npos) << error.what();
  }
}

TEST(DeviceDecoder, AQueueOnAGpuGivesTheTextsOfTheCpu) {
  if (!at::hasCUDA()) GTEST_SKIP() << "there is no GPU";
  const testing::TemporaryDirectory folder;
  const auto path = testing::write_routed_gguf(folder);
  const Decoder cpu = Decoder::load(path, {.precision = WeightPrecision::kFloat32});
  const Decoder gpu = Decoder::load(path, {.precision = WeightPrecision::kFloat32, .device = "cuda"});
  GenerationQueue queue(gpu, {.max_active = 16});
  std::vector<QueuedText> texts;
  std::vector<std::vector<int>> prompts;
  for (int i = 0; i < 40; ++i) {
    prompts.push_back(std::vector<int>(static_cast<std::size_t>(1 + i % 30), 97 + i % 20));
    texts.push_back(queue.submit(prompts.back(), {.max_tokens = 20}));
  }
  for (std::size_t i = 0; i < texts.size(); ++i) {
    std::string joined;
    for (std::string piece; texts[i].next(piece);) joined += piece;
    EXPECT_EQ(joined, cpu.generate(prompts[i], {.max_tokens = 20}).text);
    EXPECT_EQ(joined, gpu.generate(prompts[i], {.max_tokens = 20}).text);
  }
}

}  // namespace
}  // namespace taesr
