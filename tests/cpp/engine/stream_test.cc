#include "taesr/stream.h"

#include <stdexcept>

#include <gtest/gtest.h>

#include "support/bundled_encoder.h"
#include "support/vectors.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

using testing::dot;
using testing::encoder;

std::vector<std::string> some_texts(std::size_t count) {
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < count; ++i) texts.push_back("Text " + std::to_string(i) + std::string(i * 7 % 40, 'a'));
  return texts;
}

std::function<bool(std::string&)> reading(const std::vector<std::string>& texts, std::size_t& next) {
  return [&](std::string& text) {
    if (next == texts.size()) return false;
    text = texts[next++];
    return true;
  };
}

TEST(EncodeStream, GivesTheResultsOfEncodeInTheOrderOfTheTexts) {
  const auto texts = some_texts(53);
  const auto expected = encoder().encode(texts, {.depth = "easy"});
  std::size_t next = 0;
  std::size_t row = 0;
  std::vector<std::size_t> sizes;
  const auto report = encoder().encode_stream(
      reading(texts, next),
      [&](EncodeResult&& result) {
        sizes.push_back(result.windows.size());
        EXPECT_EQ(next, row + result.windows.size()) << "read no further than the window";
        for (std::size_t i = 0; i < result.windows.size(); ++i, ++row) {
          EXPECT_GE(dot(result.embeddings.row(i), expected.embeddings.row(row)), 1 - 1e-6) << row;
          EXPECT_EQ(result.token_counts[i], expected.token_counts[row]);
        }
      },
      {.encode = {.depth = "easy"}, .window_texts = 20});
  EXPECT_EQ(sizes, (std::vector<std::size_t>{20, 20, 13}));
  EXPECT_EQ(report.texts, 53u);
  EXPECT_EQ(report.passes, 53u);
  EXPECT_EQ(report.overlong, 0u);
}

TEST(EncodeStream, WindowsAreBoundedInBytesAndAHugeTextIsOneOfItsOwn) {
  std::vector<std::string> texts(10, std::string(100, 'a'));
  texts[4] = std::string(50'000, 'b');
  std::size_t next = 0;
  std::vector<std::size_t> sizes;
  const auto report = encoder().encode_stream(
      reading(texts, next), [&](EncodeResult&& result) { sizes.push_back(result.windows.size()); },
      {.encode = {.depth = "easy"}, .window_bytes = 400});
  EXPECT_EQ(sizes, (std::vector<std::size_t>{4, 1, 4, 1}));
  EXPECT_EQ(report.overlong, 1u);
  EXPECT_GT(report.passes, 10u);
  EXPECT_EQ(report.truncated, 0u);
}

TEST(EncodeStream, SaysHowManyTextsWereTruncated) {
  const std::vector<std::string> texts = {"short", std::string(5000, 'x'), "short", std::string(6000, 'y')};
  std::size_t next = 0;
  const auto report = encoder().encode_stream(
      reading(texts, next), [](EncodeResult&&) {},
      {.encode = {.depth = "easy", .on_overflow = Overflow::kTruncate}, .window_texts = 2});
  EXPECT_EQ(report.truncated, 2u);
  EXPECT_EQ(report.overlong, 2u);
  EXPECT_EQ(report.passes, 4u);
}

TEST(EncodeStream, TextsAreNumberedThroughInMessages) {
  std::vector<std::string> texts = some_texts(7);
  texts[6] = std::string(5000, 'x');
  std::size_t next = 0;
  try {
    (void)encoder().encode_stream(reading(texts, next), [](EncodeResult&&) {},
                                  {.encode = {.depth = "easy", .on_overflow = Overflow::kError}, .window_texts = 3});
    FAIL() << "no error";
  } catch (const InvalidArgument& error) {
    EXPECT_NE(std::string(error.what()).find("text 6 has"), std::string::npos) << error.what();
  }
}

TEST(EncodeStream, AnEmptySourceNeverCallsTheSink) {
  const auto report = encoder().encode_stream([](std::string&) { return false; },
                                              [](EncodeResult&&) { FAIL() << "a result of nothing"; }, {});
  EXPECT_EQ(report.texts, 0u);
}

TEST(EncodeStream, WhatSourceOrSinkThrowsComesOutAsItIs) {
  std::size_t given = 0;
  std::size_t taken = 0;
  const auto source = [&](std::string& text) {
    if (++given == 8) throw std::runtime_error("the disk is gone");
    text = "text";
    return true;
  };
  EXPECT_THROW((void)encoder().encode_stream(source, [&](EncodeResult&& result) { taken += result.windows.size(); },
                                             {.encode = {.depth = "easy"}, .window_texts = 3}),
               std::runtime_error);
  EXPECT_EQ(taken, 6u) << "results of the windows before";
  given = 100;
  EXPECT_THROW((void)encoder().encode_stream(source, [](EncodeResult&&) { throw std::out_of_range("full"); },
                                             {.encode = {.depth = "easy"}, .window_texts = 3}),
               std::out_of_range);
  EXPECT_EQ(given, 103u) << "nothing more is read";
}

TEST(EncodeStream, BadOptionsAreRefusedBeforeAnythingIsRead) {
  const auto source = [](std::string&) -> bool { throw std::logic_error("read"); };
  const auto sink = [](EncodeResult&&) {};
  for (const StreamOptions& options :
       {StreamOptions{.window_texts = 0}, StreamOptions{.window_bytes = 0}, StreamOptions{.encode = {.depth = "9"}},
        StreamOptions{.encode = {.max_flops = -1}}, StreamOptions{.encode = {.deadline_ms = 5}}}) {
    EXPECT_THROW((void)encoder().encode_stream(source, sink, options), InvalidArgument);
  }
  EXPECT_THROW((void)encoder().encode_stream(nullptr, sink, {}), InvalidArgument);
  EXPECT_THROW((void)encoder().encode_stream(source, nullptr, {}), InvalidArgument);
}

}  // namespace
}  // namespace taesr
