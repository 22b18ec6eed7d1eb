#include "taesr/tokenizer.h"

#include <fstream>
#include <random>

#include <gtest/gtest.h>

#include "core/file.h"
#include "support/temporary_directory.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

const std::filesystem::path kModel = std::filesystem::path(TAESR_TEST_MODEL) / "tokenizer.model";

TEST(Tokenizer, DecodesWhatItEncoded) {
  const Tokenizer tokenizer = Tokenizer::load(kModel);
  for (const char* text : {"how do i reset my password", "error 0x80070005"}) {
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
  }
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("Naïve CAFÉ")), "naive cafe") << "its pieces know no case and no accents";
  EXPECT_TRUE(tokenizer.encode("").empty());
}

TEST(Tokenizer, HandlesEveryByteSequence) {
  const Tokenizer tokenizer = Tokenizer::load(kModel);
  std::mt19937 random(3);
  for (int i = 0; i < 2000; ++i) {
    std::string text(random() % 40, '\0');
    for (char& byte : text) byte = static_cast<char>(random());
    const auto ids = tokenizer.encode(text);
    EXPECT_EQ(ids, tokenizer.encode(text));
    for (const int id : ids) EXPECT_LT(static_cast<std::size_t>(id), tokenizer.size());
  }
}

TEST(Tokenizer, AMegabyteWithoutSpacesIsLinearWork) {
  const Tokenizer tokenizer = Tokenizer::load(kModel);
  EXPECT_GT(tokenizer.encode(std::string(1 << 20, 'q')).size(), 1000u);
}

TEST(Tokenizer, IdsOutOfRangeAreRefused) {
  const Tokenizer tokenizer = Tokenizer::load(kModel);
  EXPECT_THROW((void)tokenizer.decode(std::vector<int>{-1}), InvalidArgument);
  EXPECT_THROW((void)tokenizer.decode(std::vector<int>{22000}), InvalidArgument);
  EXPECT_THROW((void)tokenizer.piece(22000), InvalidArgument);
}

TEST(Tokenizer, MutatedModelsAreRefusedOrWork) {
  const testing::TemporaryDirectory folder;
  const std::string good = read_file(kModel, 1 << 24);
  std::mt19937 random(5);
  for (int i = 0; i < 60; ++i) {
    std::string bad = good;
    for (unsigned n = 1 + random() % 20; n > 0; --n) bad[random() % bad.size()] = static_cast<char>(random());
    if (random() % 3 == 0) bad.resize(random() % bad.size());
    std::ofstream(folder / "t", std::ios::binary) << bad;
    try {
      (void)Tokenizer::load(folder / "t").encode("how do I reset my password");
    } catch (const Error&) {
    }
  }
}

}  // namespace
}  // namespace taesr
