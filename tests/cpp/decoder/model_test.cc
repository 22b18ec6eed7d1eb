#include <cmath>

#include <gtest/gtest.h>

#include "decoder/config.h"
#include "decoder/host_pass.h"
#include "support/files.h"
#include "support/random_decoder.h"
#include "support/temporary_directory.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

using testing::Floats;
using testing::random_decoder_weights;
using testing::save;
using testing::small_decoder;
using testing::TemporaryDirectory;
using testing::write_bytes;

DecoderWeights load(const DecoderConfig& config, const Floats& weights) {
  const TemporaryDirectory folder;
  save(weights, folder / "m.safetensors");
  return load_decoder_weights(config, WeightPrecision::kStored, folder / "m.safetensors");
}

std::vector<float> decoder_forward(const DecoderConfig& config, const DecoderWeights& weights,
                                   std::span<const int> tokens, HostKvCache& cache, LogitsOf wanted) {
  HostPass pass(config, weights);
  const std::span<const float> logits = pass.run(tokens, cache, wanted).logits();
  return {logits.begin(), logits.end()};
}

std::vector<std::int64_t> unique_layers(LayerSharing sharing, std::int64_t layers, std::int64_t recursions) {
  const DecoderConfig config = small_decoder(sharing, layers, recursions);
  config.validate("");
  std::vector<std::int64_t> found;
  for (std::int64_t i = 0; i < layers; ++i) found.push_back(config.unique_layer(i));
  return found;
}

const std::vector<int> kTokens = {3, 1, 4, 1, 5, 9, 2, 6, 5, 35};

TEST(DecoderConfig, SharedLayersFollowTheirScheme) {
  using Layers = std::vector<std::int64_t>;
  EXPECT_EQ(unique_layers(LayerSharing::kNone, 4, 1), (Layers{0, 1, 2, 3}));
  EXPECT_EQ(unique_layers(LayerSharing::kCycle, 6, 2), (Layers{0, 1, 2, 0, 1, 2}));
  EXPECT_EQ(unique_layers(LayerSharing::kSequence, 6, 2), (Layers{0, 0, 1, 1, 2, 2}));
  EXPECT_EQ(unique_layers(LayerSharing::kMiddleCycle, 8, 3), (Layers{0, 1, 2, 1, 2, 1, 2, 3}));
  EXPECT_EQ(unique_layers(LayerSharing::kMiddleSequence, 8, 3), (Layers{0, 1, 1, 1, 2, 2, 2, 3}));
}

TEST(DecoderConfig, RecursionsThatDoNotDivideTheSharedLayersAreRefused) {
  EXPECT_THROW(small_decoder(LayerSharing::kMiddleCycle, 8, 4).validate(""), InvalidArgument);
  EXPECT_THROW(small_decoder(LayerSharing::kCycle, 8, 0).validate(""), InvalidArgument);
  EXPECT_THROW(small_decoder(LayerSharing::kMiddleCycle, 2, 1).validate(""), InvalidArgument);
  EXPECT_THROW(small_decoder(LayerSharing::kNone, 8, 2).validate(""), InvalidArgument);
}

TEST(Decoder, CachedDecodingEqualsOnePassOverTheWholeTextToTheBit) {
  for (const Routing routing : {Routing::kNone, Routing::kExpertChoice, Routing::kTokenChoice}) {
    for (const KvCaching caching : {KvCaching::kFull, KvCaching::kShared}) {
      DecoderConfig config = small_decoder(LayerSharing::kMiddleCycle, 8, 3);
      config.routing = routing;
      config.gate = Gate::kPreserving;
      const DecoderWeights weights = load(config, random_decoder_weights(config));
      HostKvCache whole_cache(config, caching);
      const auto whole = decoder_forward(config, weights, kTokens, whole_cache, LogitsOf::kAllTokens);
      HostKvCache cache(config, caching);
      HostPass pass(config, weights);
      std::size_t done = 0;
      for (const std::size_t chunk : {4u, 1u, 1u, 3u, 1u}) {
        const auto tokens = std::span(kTokens).subspan(done, chunk);
        const auto part = pass.run(tokens, cache, LogitsOf::kLastToken).logits();
        done += chunk;
        const auto expected = std::span(whole).subspan((done - 1) * 40, 40);
        EXPECT_TRUE(std::equal(part.begin(), part.end(), expected.begin(), expected.end()))
            << done << " tokens, routing " << name_of(routing);
      }
      EXPECT_EQ(cache.length(), 10);
      EXPECT_EQ(cache.bytes(), whole_cache.bytes());
    }
  }
}

TEST(Decoder, RecursiveModelEqualsTheSameLayersWrittenOut) {
  const DecoderConfig shared = small_decoder(LayerSharing::kMiddleCycle, 6, 2);
  DecoderConfig written_out = small_decoder(LayerSharing::kNone, 6);
  const Floats weights = random_decoder_weights(shared);
  Floats copies;
  for (const auto& [name, tensor] : weights) {
    if (!name.starts_with("model.layers.")) copies[name] = tensor;
  }
  for (std::int64_t i = 0; i < 6; ++i) {
    const std::string from = "model.layers." + std::to_string(shared.unique_layer(i)) + ".";
    for (const auto& [name, tensor] : weights) {
      if (name.starts_with(from)) {
        copies["model.layers." + std::to_string(i) + "." + name.substr(from.size())] = tensor;
      }
    }
  }
  const DecoderWeights few = load(shared, weights);
  const DecoderWeights many = load(written_out, copies);
  EXPECT_EQ(few.layers.size(), 4u);
  EXPECT_LT(few.bytes(), many.bytes());
  HostKvCache a(shared, KvCaching::kFull);
  HostKvCache b(written_out, KvCaching::kFull);
  EXPECT_EQ(decoder_forward(shared, few, kTokens, a, LogitsOf::kAllTokens),
            decoder_forward(written_out, many, kTokens, b, LogitsOf::kAllTokens));
}

TEST(HostKvCache, RecursiveSharingKeepsOnePartInRecursions) {
  for (const std::int64_t recursions : {2, 3, 4}) {
    const DecoderConfig config = small_decoder(LayerSharing::kCycle, 12, recursions);
    const DecoderWeights weights = load(config, random_decoder_weights(config));
    HostKvCache full(config, KvCaching::kFull);
    HostKvCache shared(config, KvCaching::kShared);
    (void)decoder_forward(config, weights, kTokens, full, LogitsOf::kNone);
    (void)decoder_forward(config, weights, kTokens, shared, LogitsOf::kNone);
    EXPECT_EQ(full.bytes(), 12u * 10 * 2 * 8 * sizeof(float));
    EXPECT_EQ(full.bytes(), shared.bytes() * static_cast<std::size_t>(recursions));
  }
}

TEST(HostKvCache, TokensThatDidNotReachALayerAreNotSeenThere) {
  HostKvCache cache(small_decoder(), KvCaching::kFull);
  const std::vector<std::int64_t> positions = {0, 2, 5};
  cache.add(1, positions);
  EXPECT_EQ(cache.entries(1).visible(0), 1);
  EXPECT_EQ(cache.entries(1).visible(4), 2);
  EXPECT_EQ(cache.entries(1).visible(5), 3);
  EXPECT_EQ(cache.entries(0).visible(5), 0);
}

TEST(Decoder, MissingUnknownAndMisshapenWeightsAreNamed) {
  const DecoderConfig config = small_decoder();
  const auto message = [&](const Floats& weights) -> std::string {
    try {
      (void)load(config, weights);
    } catch (const FormatError& error) {
      return error.what();
    }
    return "nothing was thrown";
  };
  const Floats good = random_decoder_weights(config);
  Floats missing = good;
  missing.erase("model.layers.1.mlp.up_proj.weight");
  EXPECT_NE(message(missing).find("'model.layers.1.mlp.up_proj.weight' is missing"), std::string::npos);
  Floats unknown = good;
  unknown["model.layers.1.self_attn.q_proj.bias"] = {{16}, std::vector<float>(16)};
  EXPECT_NE(message(unknown).find("q_proj.bias' is not one of this architecture"), std::string::npos);
  Floats misshapen = good;
  misshapen["model.norm.weight"] = {{15}, std::vector<float>(15)};
  EXPECT_NE(message(misshapen).find("has shape [15]; its config needs [16]"), std::string::npos);
}

TEST(Decoder, TokensOutOfRangeAreRefused) {
  const DecoderConfig config = small_decoder();
  EXPECT_THROW(check_tokens(config, std::vector<int>{40}), InvalidArgument);
  EXPECT_THROW(check_tokens(config, std::vector<int>{-1}), InvalidArgument);
  EXPECT_THROW(check_tokens(config, std::vector<int>(65, 0)), InvalidArgument);
}

struct BadConfig {
  const char* story;
  const char* json;
  const char* expected;
};

TEST(DecoderConfig, UnreadableConfigFilesSayWhy) {
  const TemporaryDirectory folder;
  const BadConfig cases[] = {
      {"not JSON", "{", "not valid JSON"},
      {"a list", "[]", "not a JSON object"},
      {"no fields", "{}", "'vocab_size' is missing"},
      {"another model", R"({"model_type": "gpt2"})", "'model_type'"},
      {"scaled positions",
       R"({"vocab_size": 9, "hidden_size": 4, "intermediate_size": 4, "num_hidden_layers": 1,
        "num_attention_heads": 2, "max_position_embeddings": 8, "rope_scaling": {"rope_type": "llama3"}})",
       "llama3"},
      {"text for a size", R"({"vocab_size": "9"})", "'vocab_size' is not an integer"},
  };
  for (const BadConfig& bad : cases) {
    write_bytes(folder / "config.json", bad.json);
    try {
      (void)read_decoder_config(folder / "config.json");
      ADD_FAILURE() << bad.story << " was read";
    } catch (const FormatError& error) {
      EXPECT_NE(std::string(error.what()).find(bad.expected), std::string::npos)
          << bad.story << ": " << error.what();
    }
  }
}

}  // namespace
}  // namespace taesr
