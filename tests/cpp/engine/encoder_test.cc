#include "taesr/encoder.h"

#include <cmath>
#include <fstream>
#include <thread>

#include <gtest/gtest.h>

#include "support/bundled_encoder.h"
#include "support/temporary_directory.h"
#include "support/vectors.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

namespace fs = std::filesystem;
using testing::dot;
using testing::encoder;
using testing::TemporaryDirectory;

std::vector<std::string> sample_texts(std::size_t count) {
  std::vector<std::string> texts;
  for (std::size_t i = 0; i < count; ++i) {
    std::string text = "Article " + std::to_string(i);
    for (std::size_t j = 0; j < i * 7 % 90; ++j) text += (j % 3 == 0 ? " printer" : j % 3 == 1 ? " is" : " offline");
    texts.push_back(text);
  }
  return texts;
}

TEST(Encoder, RowsAreUnitVectorsAtEveryDepthAndDimension) {
  for (const char* depth : {"easy", "medium", "hard", "2"}) {
    for (const std::size_t dim : {1u, 64u, 200u, 384u}) {
      const auto result = encoder().encode(sample_texts(3), {.depth = depth, .dim = dim});
      ASSERT_EQ(result.embeddings.columns, dim);
      for (std::size_t i = 0; i < 3; ++i) EXPECT_NEAR(dot(result.embeddings.row(i), result.embeddings.row(i)), 1, 1e-5);
    }
  }
}

TEST(Encoder, ASliceIsTheRenormalisedPrefix) {
  const auto texts = sample_texts(4);
  const auto full = encoder().encode(texts);
  const auto slice = encoder().encode(texts, {.dim = 64});
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const auto prefix = full.embeddings.row(i).first(64);
    EXPECT_NEAR(dot(prefix, slice.embeddings.row(i)) / std::sqrt(dot(prefix, prefix)), 1, 1e-6);
  }
}

TEST(Encoder, AnEmbeddingDependsOnItsOwnTextAlone) {
  const auto texts = sample_texts(64);
  std::vector<std::string> reversed(texts.rbegin(), texts.rend());
  const auto batch = encoder().encode(texts);
  const auto shuffled = encoder().encode(reversed);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const auto alone = encoder().encode(std::span(&texts[i], 1));
    EXPECT_GE(dot(alone.embeddings.row(0), batch.embeddings.row(i)), 1 - 1e-6) << i;
    EXPECT_GE(dot(alone.embeddings.row(0), shuffled.embeddings.row(63 - i)), 1 - 1e-6) << i;
  }
}

TEST(Encoder, RolesGiveDifferentVectorsOfOneSpace) {
  const std::vector<std::string> texts = {"reset password"};
  const auto query = encoder().encode(texts, {.role = Role::kQuery});
  const auto passage = encoder().encode(texts, {.role = Role::kPassage});
  const double cosine = dot(query.embeddings.row(0), passage.embeddings.row(0));
  EXPECT_LT(cosine, 0.9999);
  EXPECT_GT(cosine, 0.5);
}

TEST(Encoder, LongTextsAreReadToTheirEnd) {
  std::string text;
  for (int i = 0; i < 400; ++i) text += "The weather in the mountains is mild. ";
  const std::vector<std::string> texts = {text, text + "Reset the password of your account in the settings."};
  const auto chunked = encoder().encode(texts);
  EXPECT_GT(chunked.windows[0], 1u);
  EXPECT_EQ(chunked.truncated, 0u);
  EXPECT_LT(dot(chunked.embeddings.row(0), chunked.embeddings.row(1)), 0.99999);

  const auto cut = encoder().encode(texts, {.on_overflow = Overflow::kTruncate});
  EXPECT_EQ(cut.truncated, 2u);
  EXPECT_NEAR(dot(cut.embeddings.row(0), cut.embeddings.row(1)), 1, 1e-6);

  EXPECT_THROW((void)encoder().encode(texts, {.on_overflow = Overflow::kError}), InvalidArgument);
}

TEST(Encoder, APassOfFewerTokensReadsALongTextAsItsBeginningOrInShorterWindows) {
  const std::string beginning = "The weather in the mountains is mild. The weather in the mountains is mild.";
  const std::string text = beginning + " It rains by the sea. It rains by the sea.";
  ASSERT_EQ(encoder().count_tokens(beginning), 16U);
  const auto cut = encoder().encode(std::span(&text, 1), {.on_overflow = Overflow::kTruncate, .max_tokens = 16});
  const auto alone = encoder().encode(std::span(&beginning, 1), {});
  EXPECT_EQ(cut.truncated, 1U);
  EXPECT_NEAR(dot(cut.embeddings.row(0), alone.embeddings.row(0)), 1, 1e-5);
  EXPECT_GT(encoder().encode(std::span(&text, 1), {.max_tokens = 16}).windows[0], 1U);
  for (const std::size_t bad : {std::size_t{15}, encoder().max_tokens() + 1}) {
    EXPECT_THROW((void)encoder().encode(std::span(&text, 1), {.max_tokens = bad}), InvalidArgument) << bad;
  }
}

TEST(Encoder, AcceptsEmptyAndMalformedTexts) {
  const std::vector<std::string> texts = {"", " \n\t", std::string("\0\0", 2), "\xff\xfe\x80", "\xed\xa0\x80",
                                          std::string(100'000, 'x'), "\xe2\x80\x8b\xe2\x80\x8b"};
  const auto result = encoder().encode(texts, {.depth = "easy"});
  for (std::size_t i = 0; i < texts.size(); ++i) EXPECT_NEAR(dot(result.embeddings.row(i), result.embeddings.row(i)), 1, 1e-5);
  EXPECT_EQ(encoder().encode({}).embeddings.rows, 0u);
}

TEST(Encoder, BadOptionsAreRefusedWithTheAllowedRange) {
  const auto texts = sample_texts(1);
  EXPECT_THROW((void)encoder().encode(texts, {.depth = "9"}), InvalidArgument);
  EXPECT_THROW((void)encoder().encode(texts, {.dim = 385}), InvalidArgument);
  EXPECT_THROW((void)parse_precision("int3"), InvalidArgument);
  EXPECT_THROW((void)parse_overflow("wrap"), InvalidArgument);
}

TEST(Encoder, ThreadsGetTheSameVectorsAsOne) {
  const auto texts = sample_texts(8);
  const auto expected = encoder().encode(texts, {.depth = "easy"});
  std::vector<std::thread> threads;
  std::vector<int> wrong(4, 0);
  for (std::size_t t = 0; t < wrong.size(); ++t) {
    threads.emplace_back([&, t] {
      const auto got = encoder().encode(texts, {.depth = "easy"});
      for (std::size_t i = 0; i < texts.size(); ++i) {
        if (dot(got.embeddings.row(i), expected.embeddings.row(i)) < 1 - 1e-6) ++wrong[t];
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4, 0));
}

TEST(Encoder, Bfloat16StaysCloseToFloat32) {
  const Encoder half = Encoder::load(TAESR_TEST_MODEL, Precision::kBFloat16);
  EXPECT_EQ(half.fingerprint(), encoder().fingerprint());
  const auto texts = sample_texts(16);
  for (const char* depth : {"easy", "hard"}) {
    const auto a = encoder().encode(texts, {.depth = depth});
    const auto b = half.encode(texts, {.depth = depth});
    for (std::size_t i = 0; i < texts.size(); ++i) EXPECT_GE(dot(a.embeddings.row(i), b.embeddings.row(i)), 0.999) << i;
  }
}

/// A copy of the bundled model in which one file can be damaged; links keep it cheap.
class ModelCopy {
 public:
  ModelCopy() {
    for (const char* name : {"config.json", "tokenizer.model", "model.safetensors"}) {
      fs::create_symlink(fs::path(TAESR_TEST_MODEL) / name, folder_ / name);
    }
  }
  void replace(const std::string& name, const std::string& content) {
    fs::remove(folder_ / name);
    std::ofstream(folder_ / name, std::ios::binary) << content;
  }
  [[nodiscard]] std::string refusal() const {
    try {
      (void)Encoder::load(folder_.path());
      return "";
    } catch (const Error& error) {
      return error.what();
    }
  }
  [[nodiscard]] const TemporaryDirectory& folder() const { return folder_; }

 private:
  TemporaryDirectory folder_;
};

TEST(EncoderLoad, NamesTheFileThatIsMissingOrDamaged) {
  for (const char* name : {"config.json", "tokenizer.model", "model.safetensors"}) {
    ModelCopy copy;
    EXPECT_EQ(copy.refusal(), "");
    copy.replace(name, "damaged");
    EXPECT_NE(copy.refusal().find(name), std::string::npos) << copy.refusal();
    copy.replace(name, "");
    EXPECT_NE(copy.refusal().find(name), std::string::npos) << copy.refusal();
    fs::remove(copy.folder() / name);
    EXPECT_NE(copy.refusal().find(name), std::string::npos) << copy.refusal();
  }
  EXPECT_THROW((void)Encoder::load("/nowhere/at/all"), IoError);
}

TEST(EncoderLoad, NamesTheWeightThatDoesNotFitTheConfig) {
  ModelCopy copy;
  TAESRConfig config = encoder().config();
  config.intermediate_size = 1024;
  copy.replace("config.json", config.to_json());
  EXPECT_NE(copy.refusal().find("entry.0.mlp.up.weight"), std::string::npos) << copy.refusal();

  config = encoder().config();
  config.vocab_size = 23000;
  copy.replace("config.json", config.to_json());
  EXPECT_NE(copy.refusal().find("22000 pieces"), std::string::npos) << copy.refusal();
}

}  // namespace
}  // namespace taesr
