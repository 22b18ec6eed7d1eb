// Files of codecs with bytes changed at random, half of them under a right checksum: refused, or codecs that
// keep their promises.

#include <gtest/gtest.h>

#include <cmath>

#include "support/mutated_files.h"
#include "support/vectors.h"
#include "taesr/compression.h"

namespace taesr {
namespace {

constexpr std::size_t kDimension = 20;
constexpr std::size_t kFiles = 100;  // of a codec

Matrix sample(std::size_t rows) {
  std::mt19937 random(3);
  Matrix matrix(rows, kDimension);
  const auto vectors = testing::clustered_vectors(random, rows, kDimension, 12);
  for (std::size_t i = 0; i < rows; ++i) std::ranges::copy(vectors[i], matrix.row(i).begin());
  return matrix;
}

double largest_of(const Matrix& rows) {
  double largest = 0;
  for (const float value : rows.values) largest = std::max(largest, std::abs(double{value}));
  return largest;
}

/// Scores are products with the decoded vectors, as long as those are of a size to be computed with.
void check_codec(const VectorCodec& codec, const Matrix& rows) {
  std::vector<std::uint8_t> codes;
  try {
    codes = codec.encode(rows);
  } catch (const InvalidArgument&) {  // the codec takes vectors to where its codes do not reach
    return;
  }
  ASSERT_EQ(codes.size(), rows.rows * codec.code_size());
  const Matrix decoded = codec.decode(codes);
  const std::vector<float> scores = codec.score(rows.row(0), codes);
  ASSERT_EQ(scores.size(), rows.rows);
  const double largest = largest_of(decoded);
  for (std::size_t i = 0; i < rows.rows; ++i) {
    ASSERT_TRUE(std::isfinite(scores[i]));
    if (largest < 100) {
      ASSERT_NEAR(scores[i], testing::dot(rows.row(0), decoded.row(i)), 1e-3 * (1 + largest)) << codec.name();
    }
  }
  const auto found = codec.search(rows.row(0), codes, 5);
  ASSERT_EQ(found.size(), std::min<std::size_t>(5, rows.rows));
  for (const auto& [row, score] : found) ASSERT_EQ(score, scores.at(row));
}

class MutatedCodecFiles : public ::testing::TestWithParam<const char*> {};

TEST_P(MutatedCodecFiles, AreRefusedOrKeepTheirPromises) {
  const Matrix rows = sample(300);
  const std::string original = VectorCodec::fit(GetParam(), rows).save();
  const auto repaired = [&](std::mt19937& random) {
    std::string bytes = original.substr(0, original.size() - sizeof(std::uint64_t));
    testing::damage(bytes, random);
    return testing::with_checksum(bytes);
  };
  testing::read_mutated_files(original, kFiles, repaired, [&](const std::string& bytes, std::mt19937&) {
    const VectorCodec codec = VectorCodec::load(bytes, "mutated.codec");
    EXPECT_EQ(codec.save(), bytes) << "something was read as what it is not";
    if (codec.dimension() == kDimension) {
      check_codec(codec, sample(9));
    } else {
      static_cast<void>(codec.encode(Matrix(2, codec.dimension())));
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Names, MutatedCodecFiles,
                         ::testing::Values("int8", "int4", "binary", "pq5", "opq5", "slice13-int4", "pca9",
                                           "pca9-int8", "pca10-opq5"),
                         [](const auto& tested) {
                           std::string name = tested.param;
                           std::erase(name, '-');
                           return name;
                         });

}  // namespace
}  // namespace taesr
