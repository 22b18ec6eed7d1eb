// Segments of many sequences that pass the layers together.

#include <algorithm>
#include <optional>
#include <random>

#include <gtest/gtest.h>

#include "decoder/host_pass.h"
#include "support/decoder_cases.h"
#include "support/random_decoder.h"
#include "support/temporary_directory.h"

namespace taesr {
namespace {

using Case = testing::DecoderCase;

/// A model, and texts for it.
class SegmentsOf : public ::testing::TestWithParam<Case> {
 protected:
  SegmentsOf() {
    config_ = testing::small_decoder(GetParam());
    const testing::TemporaryDirectory folder;
    testing::save(testing::random_decoder_weights(config_, 5), folder / "m.safetensors");
    weights_.emplace(load_decoder_weights(config_, WeightPrecision::kStored, folder / "m.safetensors"));
    std::mt19937 random(7);
    for (std::size_t text = 0; text < 7; ++text) {
      texts_.emplace_back();
      for (std::size_t i = 0; i < 3 + 5 * text; ++i) texts_.back().push_back(static_cast<int>(random() % 40));
    }
  }

  /// Logits of all tokens of a text that is alone.
  [[nodiscard]] std::vector<float> alone(const std::vector<int>& tokens) const {
    HostKvCache cache(config_, GetParam().caching);
    HostPass pass(config_, *weights_);
    const auto logits = pass.run(tokens, cache, LogitsOf::kAllTokens).logits();
    return {logits.begin(), logits.end()};
  }

  DecoderConfig config_;
  std::optional<DecoderWeights> weights_;
  std::vector<std::vector<int>> texts_;
};

TEST_P(SegmentsOf, AnyMixtureOfSequencesAndRecursionsGivesTheLogitsOfEachAloneToTheBit) {
  struct Running {
    const std::vector<int>* tokens;
    HostKvCache cache;
    Segment segment = {};
    std::size_t read = 0;
    std::vector<float> logits = {};
  };
  std::vector<Running> all;
  for (const auto& text : texts_) all.emplace_back(&text, HostKvCache(config_, GetParam().caching));
  HostPass pass(config_, *weights_);
  std::mt19937 random(11);
  std::size_t mixed = 0;  // steps with segments at different recursions
  for (bool more = true; more;) {
    more = false;
    std::vector<Segment*> step;
    std::size_t going = 0;
    for (Running& text : all) {
      if (!text.segment.finished()) {
        step.push_back(&text.segment);
        ++going;
      } else if (text.read < text.tokens->size()) {
        more = true;
        if (random() % 3 == 0) continue;  // it joins later
        const std::size_t part = std::min<std::size_t>(1 + random() % 4, text.tokens->size() - text.read);
        text.segment.begin(std::span(*text.tokens).subspan(text.read, part), text.cache,
                           LogitsOf::kAllTokens);
        text.read += part;
        step.push_back(&text.segment);
      }
    }
    if (step.empty()) continue;
    more = true;
    mixed += going > 0 && going < step.size() ? 1 : 0;
    std::shuffle(step.begin(), step.end(), random);
    pass.step(step);
    for (Running& text : all) {
      const auto logits = text.segment.logits();
      if (std::find(step.begin(), step.end(), &text.segment) == step.end() || !text.segment.finished())
        continue;
      text.logits.insert(text.logits.end(), logits.begin(), logits.end());
    }
  }
  for (const Running& text : all) {
    EXPECT_EQ(text.logits, alone(*text.tokens)) << text.tokens->size() << " tokens";
    HostKvCache cache(config_, GetParam().caching);
    (void)pass.run(*text.tokens, cache, LogitsOf::kNone);
    EXPECT_EQ(text.cache.bytes(), cache.bytes());
  }
  const bool recurs =
      GetParam().sharing == LayerSharing::kCycle || GetParam().sharing == LayerSharing::kMiddleCycle;
  EXPECT_EQ(mixed > 0, recurs);
}

TEST_P(SegmentsOf, TokensThatNeedNoFurtherRecursionLeaveAtOnce) {
  HostPass pass(config_, *weights_);
  HostKvCache cache(config_, GetParam().caching);
  const std::vector<int> passed = pass.run(texts_.back(), cache, LogitsOf::kNone).recursions();
  HostKvCache again(config_, GetParam().caching);
  Segment segment;
  segment.begin(texts_.back(), again, LogitsOf::kNone);
  Segment* const only = &segment;
  const bool recurs =
      GetParam().sharing == LayerSharing::kCycle || GetParam().sharing == LayerSharing::kMiddleCycle;
  for (int recursion = 0; !segment.finished(); ++recursion) {
    EXPECT_EQ(segment.active(),
              std::count_if(passed.begin(), passed.end(), [&](int n) { return n > recursion; }));
    pass.step({&only, 1});
    EXPECT_TRUE(recurs || segment.finished());
  }
  EXPECT_EQ(segment.recursions(), passed);
}

INSTANTIATE_TEST_SUITE_P(Models, SegmentsOf, ::testing::ValuesIn(testing::decoder_cases({Gate::kPreserving})), [](const auto& info) {
  return std::string(name_of(info.param.sharing)) + "_" + name_of(info.param.routing) + "_" +
         (info.param.caching == KvCaching::kFull ? "full" : "shared");
});

TEST(Segment, GatesAt1MakeThePlainRecursiveModel) {
  DecoderConfig routed = testing::small_decoder(LayerSharing::kMiddleCycle, 8, 3);
  const DecoderConfig plain = routed;
  routed.routing = Routing::kExpertChoice;
  routed.gate = Gate::kPreserving;
  auto values = testing::random_decoder_weights(routed);
  std::ranges::fill(values["model.router.weight"].second, 0.0F);  // probability 1/2: gates of 1
  const testing::TemporaryDirectory folder;
  testing::save(values, folder / "routed");
  values.erase("model.router.weight");
  testing::save(values, folder / "plain");
  const auto logits = [&](const DecoderConfig& config, const char* name) {
    const DecoderWeights weights = load_decoder_weights(config, WeightPrecision::kStored, folder / name);
    HostPass pass(config, weights);
    HostKvCache first(config, KvCaching::kFull);
    HostKvCache second(config, KvCaching::kFull);
    std::vector<Segment> segments(2);
    segments[0].begin(std::vector<int>{1, 2, 3}, first, LogitsOf::kAllTokens);
    segments[1].begin(std::vector<int>{4, 5}, second, LogitsOf::kAllTokens);
    const std::vector<Segment*> both = {&segments[0], &segments[1]};
    while (!segments[0].finished()) pass.step(both);
    std::vector<float> found(segments[0].logits().begin(), segments[0].logits().end());
    found.insert(found.end(), segments[1].logits().begin(), segments[1].logits().end());
    return found;
  };
  const auto expected = logits(plain, "plain");
  const auto found = logits(routed, "routed");
  ASSERT_EQ(found.size(), 5u * 40);
  for (std::size_t i = 0; i < found.size(); ++i) EXPECT_NEAR(found[i], expected[i], 1e-5F);
}

}  // namespace
}  // namespace taesr
