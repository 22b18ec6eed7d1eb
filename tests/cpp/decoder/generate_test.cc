#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <set>
#include <thread>

#include <gtest/gtest.h>

#include "core/utf8.h"
#include "decoder/sampler.h"
#include "support/files.h"
#include "support/small_gguf_decoder.h"
#include "support/temporary_directory.h"
#include "taesr/decoder.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

using testing::small_gguf_decoder;
using testing::TemporaryDirectory;
using testing::write_bytes;

const Decoder& decoder() {
  static const Decoder instance = [] {
    const TemporaryDirectory folder;
    write_bytes(folder / "m.gguf", small_gguf_decoder());
    return Decoder::load(folder / "m.gguf");
  }();
  return instance;
}

const std::vector<int> kPrompt = {116, 104, 101, 32, 97};
const GenerateOptions kWarm = {.max_tokens = 40, .temperature = 1.5, .seed = 3};

TEST(Generate, GreedyTextEqualsFullRecomputation) {
  std::vector<int> tokens = kPrompt;
  const Generation made = decoder().generate(kPrompt, {.max_tokens = 20});
  for (const int token : made.tokens) {
    const Matrix logits = decoder().logits(tokens);
    const auto last = logits.row(tokens.size() - 1);
    EXPECT_EQ(token, std::max_element(last.begin(), last.end()) - last.begin());
    tokens.push_back(token);
  }
  EXPECT_EQ(made.prompt_tokens, 5u);
  EXPECT_EQ(made.kv_bytes, (5 + made.tokens.size() - 1) * 3 * 2 * 8 * sizeof(float));
}

TEST(Generate, SeedsDrawTheSameTextAgainAndOthersAnother) {
  GenerateOptions other = kWarm;
  other.seed = 4;
  EXPECT_EQ(decoder().generate(kPrompt, kWarm).tokens, decoder().generate(kPrompt, kWarm).tokens);
  EXPECT_NE(decoder().generate(kPrompt, kWarm).tokens, decoder().generate(kPrompt, other).tokens);
}

TEST(Generate, PiecesAreWholeCharactersAndJoinToTheText) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    GenerateOptions options = kWarm;
    options.seed = seed;
    std::string joined;
    const Generation made = decoder().generate(kPrompt, options, [&](const std::string& piece) {
      EXPECT_EQ(detail::find_invalid_utf8(piece), std::string::npos);
      joined += piece;
      return true;
    });
    EXPECT_EQ(joined, made.text);
    std::vector<int> tokens = made.tokens;
    EXPECT_EQ(made.text, decoder().decode(tokens));
  }
}

TEST(Generate, StopTextsEndTheTextBeforeThem) {
  int stops = 0;
  for (std::uint64_t seed = 0; seed < 3; ++seed) {
    GenerateOptions options = kWarm;
    options.seed = seed;
    const std::string whole = decoder().generate(kPrompt, options).text;
    for (std::size_t begin = 0; begin + 2 <= whole.size(); ++begin) {
      options.stop = {"never there", whole.substr(begin, 2)};
      if (std::any_of(options.stop[1].begin(), options.stop[1].end(), [](char c) { return c < 0; })) continue;
      std::string joined;
      const Generation made = decoder().generate(kPrompt, options, [&](const std::string& piece) {
        joined += piece;
        return true;
      });
      EXPECT_EQ(made.text, whole.substr(0, whole.find(options.stop[1])));
      EXPECT_EQ(joined, made.text);
      EXPECT_EQ(made.finish, FinishReason::kStop);
      ++stops;
    }
  }
  EXPECT_GT(stops, 3);
}

TEST(Generate, CallersCanTurnAwayAtAnyTime) {
  int pieces = 0;
  const Generation made =
      decoder().generate(kPrompt, kWarm, [&](const std::string&) { return ++pieces < 3; });
  EXPECT_EQ(made.tokens.size(), 3u);
  EXPECT_EQ(made.finish, FinishReason::kCancelled);
}

TEST(Generate, EndsAtTheLastPosition) {
  const std::vector<int> prompt(60, 97);
  GenerateOptions options = kWarm;
  options.seed = 1;
  const Generation made = decoder().generate(prompt, options);
  EXPECT_LE(made.tokens.size(), 4u);
  EXPECT_NE(made.finish, FinishReason::kCancelled);
  EXPECT_THROW((void)decoder().generate(std::vector<int>(64, 97)), InvalidArgument);
}

TEST(Generate, BiasedTokensAreChosenAndBannedOnesAreNot) {
  const std::vector<int> plain = decoder().generate(kPrompt, {.max_tokens = 8}).tokens;
  const int first = plain.front();
  for (const double temperature : {0.0, 1.0}) {
    const auto with = [&](double bias) {
      return decoder().generate(kPrompt, {.max_tokens = 8, .temperature = temperature,
                                          .logit_bias = {{first, bias}}}).tokens;
    };
    EXPECT_EQ(with(1000), std::vector<int>(8, first));
    const std::vector<int> banned = with(-1000);
    EXPECT_EQ(std::count(banned.begin(), banned.end(), first), 0);
  }
}

TEST(Generate, TheBestTokenChangesWhereTheBiasExceedsItsLead) {
  const Matrix logits = decoder().logits(kPrompt);
  const auto last = logits.row(kPrompt.size() - 1);
  const int best = decoder().generate(kPrompt, {.max_tokens = 1}).tokens.front();
  const int other = best == 100 ? 101 : 100;
  const double lead = last[static_cast<std::size_t>(best)] - last[static_cast<std::size_t>(other)];
  const auto first = [&](double bias) {
    return decoder().generate(kPrompt, {.max_tokens = 1, .logit_bias = {{other, bias}}}).tokens.front();
  };
  EXPECT_EQ(first(lead - 1e-3), best);
  EXPECT_EQ(first(lead + 1e-3), other);
}

TEST(Generate, ThreadsDoNotDisturbEachOther) {
  const auto expected = decoder().generate(kPrompt, kWarm).tokens;
  std::vector<std::vector<int>> found(4);
  {
    std::vector<std::jthread> threads;
    for (auto& tokens : found) {
      threads.emplace_back([&] { tokens = decoder().generate(kPrompt, kWarm).tokens; });
    }
  }
  for (const auto& tokens : found) EXPECT_EQ(tokens, expected);
}

TEST(Generate, OptionsOutOfRangeAreNamed) {
  const auto refused = [](const GenerateOptions& options) -> std::string {
    try {
      (void)decoder().stream(kPrompt, options);
    } catch (const InvalidArgument& error) {
      return error.what();
    }
    return "nothing was thrown";
  };
  EXPECT_NE(refused({.max_tokens = 0}).find("max_tokens"), std::string::npos);
  EXPECT_NE(refused({.temperature = -1}).find("temperature"), std::string::npos);
  EXPECT_NE(refused({.temperature = std::nan("")}).find("temperature"), std::string::npos);
  EXPECT_NE(refused({.top_p = 0}).find("top_p"), std::string::npos);
  EXPECT_NE(refused({.repetition_penalty = 0}).find("repetition_penalty"), std::string::npos);
  for (const double bias : {std::nan(""), std::numeric_limits<double>::infinity(), -1001.0}) {
    EXPECT_NE(refused({.logit_bias = {{3, bias}}}).find("logit_bias of token 3"), std::string::npos);
  }
  const auto vocab_size = static_cast<int>(decoder().config().vocab_size);
  EXPECT_NE(refused({.logit_bias = {{-1, 1}}}).find("logit_bias has token -1"), std::string::npos);
  EXPECT_NE(refused({.logit_bias = {{vocab_size, 1}}}).find("logit_bias has token"), std::string::npos);
  EXPECT_EQ(refused({.logit_bias = {{vocab_size - 1, 1}}}), "nothing was thrown");
  EXPECT_NE(refused({.stop = {""}}).find("stop"), std::string::npos);
  EXPECT_THROW((void)decoder().stream({}), InvalidArgument);
}

TEST(Sampler, DrawsWithTheProbabilitiesOfSoftmax) {
  Sampler sampler({.temperature = 2, .seed = 1});
  std::map<int, int> counts;
  for (int i = 0; i < 20000; ++i) {
    std::vector<float> logits = {0, 2, -1, 4};
    ++counts[sampler.choose(logits, {})];
  }
  const double total = std::exp(0) + std::exp(1) + std::exp(-0.5) + std::exp(2);
  for (const auto& [token, logit] : std::map<int, double>{{0, 0}, {1, 1}, {2, -0.5}, {3, 2}}) {
    EXPECT_NEAR(counts[token] / 20000.0, std::exp(logit) / total, 0.015) << token;
  }
}

std::set<int> drawn(const GenerateOptions& options) {
  Sampler sampler(options);
  std::set<int> tokens;
  for (int i = 0; i < 2000; ++i) {
    std::vector<float> logits = {1, 3, 2, 0};  // probabilities 0.09, 0.64, 0.24, 0.03
    tokens.insert(sampler.choose(logits, {}));
  }
  return tokens;
}

TEST(Sampler, TopKAndTopPKeepTheBest) {
  EXPECT_EQ(drawn({.temperature = 1, .top_k = 2}), (std::set<int>{1, 2}));
  EXPECT_EQ(drawn({.temperature = 1, .top_p = 0.6}), (std::set<int>{1}));
  EXPECT_EQ(drawn({.temperature = 1, .top_p = 0.7}), (std::set<int>{1, 2}));
  EXPECT_EQ(drawn({.temperature = 1}), (std::set<int>{0, 1, 2, 3}));
  EXPECT_EQ(drawn({.temperature = 1, .top_k = 1}), (std::set<int>{1}));
}

/// The probabilities that a plain sort gives.
std::map<int, double> expected_probabilities(const std::vector<float>& logits,
                                             const GenerateOptions& options) {
  std::vector<int> order(logits.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int>(i);
  const auto score = [&](int token) { return logits[static_cast<std::size_t>(token)]; };
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return score(a) > score(b); });
  if (options.top_k > 0) order.resize(std::min(options.top_k, order.size()));
  double total = 0;
  for (const int token : order) total += std::exp(score(token) / options.temperature);
  std::map<int, double> kept;
  double sum = 0;
  for (const int token : order) {
    if (!kept.empty() && sum >= options.top_p * total) break;
    sum += kept[token] = std::exp(score(token) / options.temperature);
  }
  for (auto& [token, value] : kept) value /= sum;
  return kept;
}

TEST(Sampler, LargeVocabulariesAreDrawnAsAPlainSortWould) {
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  std::vector<float> logits(3000);
  for (float& logit : logits) logit = std::round(normal(random) * 8) / 8;  // many are equal
  for (const GenerateOptions& options :
       {GenerateOptions{.temperature = 0.2, .top_k = 7}, GenerateOptions{.temperature = 0.3, .top_k = 500},
        GenerateOptions{.temperature = 0.15, .top_p = 0.7}, GenerateOptions{.temperature = 1, .top_p = 0.9},
        GenerateOptions{.temperature = 0.2},
        GenerateOptions{.temperature = 0.2, .top_k = 90, .top_p = 0.5}}) {
    const auto expected = expected_probabilities(logits, options);
    Sampler sampler(options);
    std::map<int, int> counts;
    constexpr int kDraws = 4000;
    for (int i = 0; i < kDraws; ++i) {
      std::vector<float> scores = logits;
      ++counts[sampler.choose(scores, {})];
    }
    for (const auto& [token, count] : counts) {
      ASSERT_TRUE(expected.contains(token)) << token;
      EXPECT_NEAR(static_cast<double>(count) / kDraws, expected.at(token), 0.03);
    }
    EXPECT_GE(counts.size(), std::min<std::size_t>(expected.size(), 7) - 1);
  }
}

TEST(Sampler, TheBestScoresAreNotEnoughWhereABiasChangesThem) {
  EXPECT_EQ(Sampler({}).enough(), 1u);
  EXPECT_EQ(Sampler({.logit_bias = {{3, 1}}}).enough(), 0u);
  EXPECT_EQ(Sampler({.temperature = 1, .top_k = 4}).enough(), 4u);
  EXPECT_EQ(Sampler({.temperature = 1, .top_k = 4, .logit_bias = {{3, 1}}}).enough(), 0u);
}

TEST(Sampler, BiasComesBeforeThePenaltyAndTheProbabilities) {
  Sampler greedy({.repetition_penalty = 2, .logit_bias = {{0, -2}, {2, 4}}});
  std::vector<float> logits = {3, 2, -1};
  EXPECT_EQ(greedy.choose(logits, std::vector<int>{2}), 1);
  EXPECT_EQ(logits, (std::vector<float>{1, 2, 1.5}));
  EXPECT_EQ(drawn({.temperature = 1, .top_k = 2, .logit_bias = {{3, 3}}}), (std::set<int>{1, 3}));
}

TEST(Sampler, RepeatedTokensBecomeLessProbable) {
  Sampler sampler({.repetition_penalty = 2});
  std::vector<float> logits = {3, 2, -1};
  EXPECT_EQ(sampler.choose(logits, std::vector<int>{0, 2, 0}), 1);
  EXPECT_EQ(logits, (std::vector<float>{1.5, 2, -2}));
}

TEST(Sampler, ScoresThatAreNotNumbersAreRefused) {
  Sampler sampler({});
  std::vector<float> logits = {1, std::numeric_limits<float>::quiet_NaN()};
  EXPECT_THROW((void)sampler.choose(logits, {}), Error);
}

}  // namespace
}  // namespace taesr
