#include <atomic>
#include <map>
#include <random>
#include <set>
#include <thread>

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "decoder/generation_batch.h"
#include "support/files.h"
#include "support/routed_gguf_decoder.h"
#include "taesr/errors.h"
#include "taesr/generation_queue.h"

namespace taesr {
namespace {

using testing::TemporaryDirectory;
using testing::write_routed_gguf;

/// A model that sends some tokens through two recursions, some through one.
const Decoder& decoder(KvCaching caching = KvCaching::kFull, GgmlType type = GgmlType::kF32) {
  static std::map<std::pair<KvCaching, GgmlType>, Decoder> decoders;
  const auto found = decoders.find({caching, type});
  if (found != decoders.end()) return found->second;
  const TemporaryDirectory folder;
  const Routing routing = caching == KvCaching::kFull ? Routing::kExpertChoice : Routing::kTokenChoice;
  const auto path = write_routed_gguf(folder, {.routing = routing, .type = type});
  const auto made = decoders.emplace(std::pair(caching, type), Decoder::load(path, {.kv_caching = caching}));
  return made.first->second;
}

struct Wish {
  std::vector<int> prompt;
  GenerateOptions options;
};

/// Prompts of 1 to 40 tokens, greedy and drawn, short and long.
std::vector<Wish> wishes(std::size_t count) {
  std::vector<Wish> all(count);
  std::mt19937 random(3);
  for (std::size_t i = 0; i < count; ++i) {
    all[i].prompt.resize(1 + random() % 40);
    for (int& token : all[i].prompt) token = static_cast<int>(random() % 256);
    all[i].options = {.max_tokens = 1 + random() % 20,
                      .temperature = i % 3 == 0 ? 0.0 : 1.2,
                      .top_k = i % 4 == 0 ? 30u : 0u,
                      .repetition_penalty = i % 5 == 0 ? 1.3 : 1.0,
                      .seed = i};
    if (i % 7 == 0) all[i].options.logit_bias = {{static_cast<int>(random() % 256), 8.0}, {101, -1000.0}};
    if (i % 6 == 0) all[i].options.stop = {"e", "never there"};
  }
  return all;
}

std::string read_all(QueuedText& text) {
  std::string joined;
  std::string piece;
  while (text.next(piece)) joined += piece;
  return joined;
}

void expect_equal(const Generation& found, const Generation& expected) {
  EXPECT_EQ(found.tokens, expected.tokens);
  EXPECT_EQ(found.text, expected.text);
  EXPECT_EQ(found.finish, expected.finish);
  EXPECT_EQ(found.prompt_tokens, expected.prompt_tokens);
  EXPECT_EQ(found.kv_bytes, expected.kv_bytes);
}

struct Shape {
  GenerationQueueOptions options = {};
  KvCaching caching = KvCaching::kFull;
  GgmlType type = GgmlType::kF32;
};

class QueueOf : public ::testing::TestWithParam<Shape> {};

TEST_P(QueueOf, TextsAreThoseOfEachRequestAlone) {
  const Decoder& model = decoder(GetParam().caching, GetParam().type);
  const auto all = wishes(40);
  GenerationQueue queue(model, GetParam().options);
  std::vector<QueuedText> texts;
  for (const Wish& wish : all) texts.push_back(queue.submit(wish.prompt, wish.options));
  std::size_t both = 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const std::string joined = read_all(texts[i]);
    EXPECT_EQ(joined, texts[i].result().text);
    expect_equal(texts[i].result(), model.generate(all[i].prompt, all[i].options));
    const auto recursions = model.trace(all[i].prompt).recursions;
    both += std::set<int>(recursions.begin(), recursions.end()).size() > 1 ? 1 : 0;
  }
  EXPECT_GT(both, 10u) << "the routers send all tokens the same way";
  const GenerationQueueStatus status = queue.status();
  EXPECT_EQ(status.active + status.waiting + status.kv_bytes, 0u);
}

INSTANTIATE_TEST_SUITE_P(Shapes, QueueOf,
                         ::testing::Values(Shape{}, Shape{.options = {.refill = false}},
                                           Shape{.options = {.max_active = 1, .batch_tokens = 2}},
                                           Shape{.options = {.max_active = 5, .batch_tokens = 6}},
                                           Shape{.options = {.max_active = 64, .batch_tokens = 400}},
                                           Shape{.caching = KvCaching::kShared},
                                           Shape{.options = {.refill = false}, .caching = KvCaching::kShared},
                                           Shape{.type = GgmlType::kQ8_0}, Shape{.type = GgmlType::kQ4_0},
                                           Shape{.type = GgmlType::kBF16}));

TEST(GenerationQueue, FullQueueRefusesAndNamesItsLimits) {
  GenerationQueue queue(decoder(), {.max_active = 2, .max_waiting = 3});
  std::vector<QueuedText> texts;
  const auto submit = [&] {
    texts.push_back(queue.submit(std::vector<int>{97}, {.max_tokens = 60, .temperature = 2}));
  };
  try {
    for (int i = 0; i < 100'000; ++i) submit();  // faster than any of them can end
    FAIL() << "nothing was refused";
  } catch (const Overloaded& error) {
    EXPECT_NE(std::string(error.what()).find("the generation queue is full: "), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("a larger max_waiting"), std::string::npos);
  }
  for (QueuedText& text : texts) (void)read_all(text);
  submit();  // there is room again
  EXPECT_FALSE(texts.back().result().prompt_tokens == 0);
}

TEST(GenerationQueue, CancelledRequestsLeaveAndOthersGoOn) {
  GenerationQueue queue(decoder(), {.max_active = 2, .max_waiting = 8});
  const auto all = wishes(6);
  std::vector<QueuedText> texts;
  for (const Wish& wish : all) texts.push_back(queue.submit(wish.prompt, wish.options));
  texts[0].cancel();
  texts[4].cancel();  // probably waits
  {
    const QueuedText dropped = std::move(texts[3]);
  }
  for (const std::size_t i : {1u, 2u, 5u}) {
    (void)read_all(texts[i]);
    expect_equal(texts[i].result(), decoder().generate(all[i].prompt, all[i].options));
  }
  for (const std::size_t i : {0u, 4u}) {
    (void)read_all(texts[i]);
    const Generation whole = decoder().generate(all[i].prompt, all[i].options);
    EXPECT_TRUE(whole.text.starts_with(texts[i].result().text));
  }
}

TEST(GenerationQueue, ClosingEndsAllRequestsAndTextsOutliveTheQueue) {
  std::optional<QueuedText> text;
  {
    GenerationQueue queue(decoder(), {.max_active = 1});
    std::vector<QueuedText> others;
    for (int i = 0; i < 20; ++i) others.push_back(queue.submit(std::vector<int>{97}, {.max_tokens = 60}));
    text.emplace(queue.submit(std::vector<int>{97}, {.max_tokens = 60}));
    queue.close();
    EXPECT_THROW((void)queue.submit(std::vector<int>{97}), Overloaded);
    for (QueuedText& other : others) (void)read_all(other);
    queue.close();
  }
  std::string piece;
  EXPECT_FALSE(text->next(piece));
  EXPECT_EQ(text->result().finish, FinishReason::kCancelled);
  text->cancel();
}

TEST(GenerationQueue, RequestsAndOptionsOutOfRangeAreRefusedAtOnce) {
  GenerationQueue queue(decoder());
  EXPECT_THROW((void)queue.submit({}), InvalidArgument);
  EXPECT_THROW((void)queue.submit(std::vector<int>{100'000}), InvalidArgument);
  EXPECT_THROW((void)queue.submit(std::vector<int>(64, 97)), InvalidArgument);
  EXPECT_THROW((void)queue.submit(std::vector<int>{97}, {.max_tokens = 0}), InvalidArgument);
  EXPECT_THROW(GenerationQueue(decoder(), {.max_active = 0}), InvalidArgument);
  EXPECT_THROW(GenerationQueue(decoder(), {.max_active = 8, .batch_tokens = 8}), InvalidArgument);
}

TEST(GenerationQueue, RequestsAreServedInTheOrderInWhichTheyCame) {
  const auto all = wishes(12);
  GenerationQueue queue(decoder(), {.max_active = 1});
  std::vector<QueuedText> texts;
  for (const Wish& wish : all) texts.push_back(queue.submit(wish.prompt, wish.options));
  for (std::size_t i = all.size(); i-- > 0;) {
    (void)read_all(texts[i]);
    for (std::size_t before = 0; before < i; ++before) {
      EXPECT_NE(texts[before].result().finish, FinishReason::kCancelled) << before << " before " << i;
    }
  }
}

TEST(GenerationQueue, WhatStopsATextIsThrownToItsReaderOnceAndTheQueueWorksOn) {
  const TemporaryDirectory folder;
  const Decoder damaged = Decoder::load(write_routed_gguf(folder, {.scale = 1.5e38F}));
  GenerationQueue queue(damaged);
  for (int round = 0; round < 3; ++round) {
    QueuedText text = queue.submit(std::vector<int>{97, 98});
    std::string piece;
    EXPECT_THROW((void)text.next(piece), Error);
    EXPECT_FALSE(text.next(piece));
    EXPECT_TRUE(text.result().tokens.empty());
  }
}

TEST(GenerationQueue, ThreadsMaySubmitReadAndCancelAtOnce) {
  const auto all = wishes(12);
  std::vector<Generation> expected;
  for (const Wish& wish : all) expected.push_back(decoder().generate(wish.prompt, wish.options));
  GenerationQueue queue(decoder(), {.max_active = 4});
  std::atomic<int> equal = 0;
  std::vector<std::jthread> threads;
  for (std::size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (std::size_t i = 0; i < all.size(); ++i) {
        QueuedText text = queue.submit(all[i].prompt, all[i].options);
        if ((i + t) % 4 == 0) {
          text.cancel();
          (void)queue.status();
        } else if (read_all(text) == expected[i].text) {
          ++equal;
        }
        while (!text.wait_for(std::chrono::milliseconds(1))) {
        }
      }
    });
  }
  threads.clear();
  EXPECT_EQ(equal, 36);
}

/// A batch without its thread: which request is served when.
class Serving : public ::testing::Test {
 protected:
  /// A text of `max_tokens` tokens, none of which ends it.
  BatchedText& add(GenerationBatch& batch, std::size_t prompt, std::size_t max_tokens) {
    const std::vector<int> tokens(prompt, 97 + static_cast<int>(texts_.size()));
    GenerateOptions options = {.max_tokens = max_tokens, .temperature = 2};
    while (decoder().generate(tokens, options).finish != FinishReason::kLength) ++options.seed;
    texts_.push_back(std::make_unique<BatchedText>(model_, tokens, options));
    batch.add(*texts_.back());
    return *texts_.back();
  }

  TemporaryDirectory folder_;
  std::shared_ptr<const LoadedDecoder> model_ = load_decoder(write_routed_gguf(folder_), {});
  std::vector<std::unique_ptr<BatchedText>> texts_;
};

TEST_F(Serving, LongPromptsDoNotStallTextsThatAreBeingDecoded) {
  GenerationBatch batch(*model_, 8, true);
  BatchedText& decoding = add(batch, 1, 60);
  while (decoding.state.result().tokens.size() < 3) (void)batch.step();
  for (int i = 0; i < 4; ++i) add(batch, 60, 1);
  const std::size_t before = decoding.state.result().tokens.size();
  std::size_t steps = 0;
  while (texts_.back()->state.reads_prompt() && !decoding.state.complete()) {
    EXPECT_LE(batch.step(), 16u);  // what goes on, and a batch of new tokens at most
    ++steps;
  }
  EXPECT_GE(steps, 20u);
  // A token takes two steps at most: one for each recursion.
  EXPECT_GE(2 * (decoding.state.result().tokens.size() - before) + 1, steps);
}

TEST_F(Serving, PromptsTakeTurnsSoThatAShortOneIsNotBehindALongOne) {
  GenerationBatch batch(*model_, 20, true);
  const BatchedText& first = add(batch, 60, 1);
  const BatchedText& second = add(batch, 60, 1);
  const BatchedText& small = add(batch, 2, 1);
  int steps = 0;
  for (; !small.state.complete() && steps < 100; ++steps) (void)batch.step();
  EXPECT_TRUE(first.state.reads_prompt() || second.state.reads_prompt());
  EXPECT_LE(steps, 6);
}

TEST_F(Serving, RefillKeepsTheBatchFullWhileTokensLeaveEarly) {
  const auto mean_rows = [&](bool refill) {
    texts_.clear();
    GenerationBatch batch(*model_, 64, refill);
    for (int i = 0; i < 12; ++i) add(batch, 1, 30);
    std::size_t rows = 0;
    std::size_t steps = 0;
    for (; steps < 20; ++steps) rows += batch.step();
    return static_cast<double>(rows) / static_cast<double>(steps);
  };
  const double with = mean_rows(true);
  const double without = mean_rows(false);
  EXPECT_DOUBLE_EQ(with, 12);
  EXPECT_LT(without, 11);
}

}  // namespace
}  // namespace taesr
