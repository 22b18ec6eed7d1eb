#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "core/checksum.h"
#include "support/vectors.h"
#include "taesr/compression.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

constexpr std::size_t kDimension = 44;  // neither a multiple of 8 nor of the lanes of any instruction

const std::vector<std::string> kNames = {
    "float32", "float16", "int8",        "int4",        "binary",      "pq11",          "opq11",
    "top13",   "slice21", "slice21-int4", "pca9",       "pca17-int8",  "pca43-binary",  "slice24-opq8",
    "pca20-pq7", "pca30-opq6", "slice33-top33", "top44", "pq44"};

Matrix sample(std::size_t rows, unsigned seed = 3) {
  std::mt19937 random(seed);
  Matrix matrix(rows, kDimension);
  const auto vectors = testing::clustered_vectors(random, rows, kDimension, 12);
  for (std::size_t i = 0; i < rows; ++i) {
    std::copy(vectors[i].begin(), vectors[i].end(), matrix.row(i).begin());
  }
  return matrix;
}

double product(std::span<const float> a, std::span<const float> b) {
  double total = 0;
  for (std::size_t i = 0; i < a.size(); ++i) total += double{a[i]} * b[i];
  return total;
}

/// Mean squared distance of rows from their approximations.
double error_of(const VectorCodec& codec, const Matrix& rows) {
  const Matrix decoded = codec.decode(codec.encode(rows));
  double total = 0;
  for (std::size_t i = 0; i < rows.values.size(); ++i) {
    total += std::pow(double{decoded.values[i]} - rows.values[i], 2);
  }
  return total / static_cast<double>(rows.rows);
}

TEST(VectorCodec, ScoresAreProductsWithTheDecodedVectors) {
  const Matrix rows = sample(300);
  const Matrix queries = sample(4, 5);
  for (const std::string& name : kNames) {
    const VectorCodec codec = VectorCodec::fit(name, rows);
    const auto codes = codec.encode(rows);
    EXPECT_EQ(codes.size(), rows.rows * codec.code_size()) << name;
    const Matrix decoded = codec.decode(codes);
    for (std::size_t q = 0; q < queries.rows; ++q) {
      const std::vector<float> scores = codec.score(queries.row(q), codes);
      for (std::size_t i = 0; i < rows.rows; ++i) {
        ASSERT_NEAR(scores[i], product(queries.row(q), decoded.row(i)), 2e-5) << name << " row " << i;
      }
    }
  }
}

TEST(VectorCodec, BytesOfACodeAreThoseThatItsKindPromises) {
  const Matrix rows = sample(300);
  const std::vector<std::pair<std::string, std::size_t>> expected = {
      {"float32", 176}, {"float16", 88}, {"int8", 44},       {"int4", 22},        {"binary", 6},
      {"pq11", 11},     {"top13", 23},   {"slice21-int4", 11}, {"pca17-int8", 17}, {"pca43-binary", 6}};
  for (const auto& [name, bytes] : expected) EXPECT_EQ(VectorCodec::fit(name, rows).code_size(), bytes) << name;
}

TEST(VectorCodec, ErrorsAreWithinWhatTheirStepsAllow) {
  const Matrix rows = sample(400);
  EXPECT_EQ(error_of(VectorCodec::fit("float32", rows), rows), 0);
  EXPECT_LT(error_of(VectorCodec::fit("float16", rows), rows), 1e-6);
  EXPECT_LT(error_of(VectorCodec::fit("int8", rows), rows), 1e-4);
  EXPECT_LT(error_of(VectorCodec::fit("int4", rows), rows), 0.02);
  EXPECT_LT(error_of(VectorCodec::fit("binary", rows), rows), 0.4);  // 1 - 2/pi for Gaussian values
  EXPECT_LT(error_of(VectorCodec::fit("top44", rows), rows), 1e-4);
  EXPECT_LT(error_of(VectorCodec::fit("pca44", rows), rows), 1e-10);  // a rotation only
}

TEST(VectorCodec, MoreBytesOfAKindNeverMakeALargerError) {
  const Matrix rows = sample(600);
  for (const auto& names : std::vector<std::vector<std::string>>{{"binary", "int4", "int8", "float16"},
                                                                {"pq4", "pq11", "pq22", "pq44"},
                                                                {"opq4", "opq11", "opq22"},
                                                                {"top5", "top13", "top30"},
                                                                {"pca4", "pca16", "pca40"}}) {
    for (std::size_t i = 1; i < names.size(); ++i) {
      EXPECT_LE(error_of(VectorCodec::fit(names[i], rows), rows),
                error_of(VectorCodec::fit(names[i - 1], rows), rows))
          << names[i];
    }
  }
}

TEST(VectorCodec, PcaLosesTheVarianceOfTheDirectionsThatItLeavesOut) {
  Matrix rows(500, 6);  // variances 36, 25, 16, 9, 4, 1 along the axes, around a centre
  std::mt19937 random(2);
  std::normal_distribution<float> normal;
  for (std::size_t i = 0; i < rows.rows; ++i) {
    for (std::size_t j = 0; j < 6; ++j) rows.row(i)[j] = 10 + static_cast<float>(6 - j) * normal(random);
  }
  EXPECT_NEAR(error_of(VectorCodec::fit("pca4", rows), rows), 5, 1);
  EXPECT_NEAR(error_of(VectorCodec::fit("pca2", rows), rows), 30, 4);
}

TEST(VectorCodec, ProductQuantisationOf256RowsIsExact) {
  const Matrix rows = sample(256);
  EXPECT_LT(error_of(VectorCodec::fit("pq3", rows), rows), 1e-10);
}

TEST(VectorCodec, SlicesAreUnitLengthAgain) {
  const Matrix rows = sample(20);
  const VectorCodec codec = VectorCodec::fit("slice21", rows);
  const Matrix decoded = codec.decode(codec.encode(rows));
  for (std::size_t i = 0; i < rows.rows; ++i) {
    EXPECT_NEAR(product(decoded.row(i), decoded.row(i)), 1, 1e-5);
    for (std::size_t j = 21; j < kDimension; ++j) EXPECT_EQ(decoded.row(i)[j], 0);
  }
}

TEST(VectorCodec, FittingAgainMakesTheSameCodec) {
  const Matrix rows = sample(700);
  for (const std::string& name : kNames) {
    EXPECT_EQ(VectorCodec::fit(name, rows).save(), VectorCodec::fit(name, rows).save()) << name;
  }
  EXPECT_NE(VectorCodec::fit("pq11", rows).save(), VectorCodec::fit("pq11", rows, {.seed = 2}).save());
}

TEST(VectorCodec, ASavedCodecComesBackWithEqualCodesAndScores) {
  const Matrix rows = sample(300);
  for (const std::string& name : kNames) {
    const VectorCodec codec = VectorCodec::fit(name, rows);
    const VectorCodec again = VectorCodec::load(codec.save());
    EXPECT_EQ(again.name(), name);
    EXPECT_EQ(again.dimension(), kDimension);
    EXPECT_EQ(again.encode(rows), codec.encode(rows)) << name;
    EXPECT_EQ(again.score(rows.row(7), again.encode(rows)), codec.score(rows.row(7), codec.encode(rows)));
  }
}

TEST(VectorCodec, SearchRanksAsScoresDoWithEqualScoresByPosition) {
  Matrix rows = sample(300);
  for (std::size_t i = 0; i < 40; ++i) {  // copies, so that scores tie
    std::copy_n(rows.row(i).begin(), kDimension, rows.row(i + 100).begin());
  }
  for (const std::string& name : kNames) {
    const VectorCodec codec = VectorCodec::fit(name, rows);
    const auto codes = codec.encode(rows);
    const std::vector<float> scores = codec.score(rows.row(3), codes);
    std::vector<std::uint32_t> expected(rows.rows);
    for (std::uint32_t i = 0; i < rows.rows; ++i) expected[i] = i;
    std::stable_sort(expected.begin(), expected.end(), [&](auto a, auto b) { return scores[a] > scores[b]; });
    const auto found = codec.search(rows.row(3), codes, 17);
    ASSERT_EQ(found.size(), 17U);
    for (std::size_t i = 0; i < found.size(); ++i) {
      EXPECT_EQ(found[i].first, expected[i]) << name << " rank " << i;
      EXPECT_EQ(found[i].second, scores[expected[i]]);
    }
  }
}

TEST(VectorCodec, RescoringLooksAtTheFewestDifferingBitsOnly) {
  const Matrix rows = sample(500);
  const VectorCodec codec = VectorCodec::fit("binary", rows);
  const auto codes = codec.encode(rows);
  const auto all = codec.search(rows.row(9), codes, 500);
  EXPECT_EQ(codec.search(rows.row(9), codes, 5, 100), codec.search(rows.row(9), codes, 5));
  const auto few = codec.search(rows.row(9), codes, 5, 2);
  ASSERT_EQ(few.size(), 5U);
  for (const auto& hit : few) EXPECT_NE(std::find(all.begin(), all.end(), hit), all.end());
  EXPECT_THROW((void)VectorCodec::fit("int8", rows).search(rows.row(0), {}, 5, 4), InvalidArgument);
}

TEST(VectorCodec, FewerCodesThanAskedForAreAllReturned) {
  const Matrix rows = sample(300);
  const VectorCodec codec = VectorCodec::fit("binary", rows);
  EXPECT_TRUE(codec.search(rows.row(0), {}, 10).empty());
  EXPECT_TRUE(codec.search(rows.row(0), codec.encode(rows), 0).empty());
  EXPECT_EQ(codec.search(rows.row(0), codec.encode(rows), std::numeric_limits<std::size_t>::max()).size(), 300U);
  EXPECT_TRUE(codec.encode(Matrix(0, kDimension)).empty());
}

TEST(VectorCodec, RowsWithoutVarianceAndOfZerosSurvive) {
  Matrix rows(300, kDimension);
  for (const std::string& name : kNames) {
    const VectorCodec codec = VectorCodec::fit(name, rows);
    for (const float score : codec.score(rows.row(0), codec.encode(rows))) EXPECT_EQ(score, 0) << name;
  }
}

TEST(VectorCodec, NamesThatAreNoneAreRefusedWithWhatIsAllowed) {
  const Matrix rows = sample(300);
  for (const std::string name :
       {"", "int", "int16", "pq", "pq0", "pq45", "pq-1", "pq08", "pq1e1", "top45", "slice45", "pca0", "pca",
        "slice20-", "-int8", "pca20-slice10", "pca10-pq11", "pca10-int8-int4", "INT8", " int8", "pq99999999999"}) {
    try {
      (void)VectorCodec::fit(name, rows);
      ADD_FAILURE() << "'" << name << "' was accepted";
    } catch (const InvalidArgument& error) {
      EXPECT_NE(std::string(error.what()).find("allowed: float32"), std::string::npos);
    }
  }
}

TEST(VectorCodec, BadInputIsRefused) {
  const Matrix rows = sample(300);
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_THROW((void)VectorCodec::fit("pq4", sample(255)), InvalidArgument);
  EXPECT_THROW((void)VectorCodec::fit("pca4", sample(1)), InvalidArgument);
  EXPECT_THROW((void)VectorCodec::fit("int8", Matrix(0, 4)), InvalidArgument);
  EXPECT_THROW((void)VectorCodec::fit("int8", Matrix(4, 0)), InvalidArgument);
  EXPECT_THROW((void)VectorCodec::fit("pq4", rows, {.iterations = 0}), InvalidArgument);
  Matrix bad = sample(5);
  bad.values[50] = infinity;
  EXPECT_THROW((void)VectorCodec::fit("int8", bad), InvalidArgument);
  const VectorCodec codec = VectorCodec::fit("int8", rows);
  EXPECT_THROW((void)codec.encode(bad), InvalidArgument);
  EXPECT_THROW((void)codec.encode(Matrix(2, kDimension + 1)), InvalidArgument);
  EXPECT_THROW((void)codec.decode(std::vector<std::uint8_t>(45)), InvalidArgument);
  EXPECT_THROW((void)codec.score(std::vector<float>(3), {}), InvalidArgument);
  EXPECT_THROW((void)codec.score(std::vector<float>(kDimension, infinity), {}), InvalidArgument);
  Matrix large = sample(2);
  large.values[1] = 1e5F;
  EXPECT_THROW((void)VectorCodec::fit("float16", rows).encode(large), InvalidArgument);
  EXPECT_NO_THROW((void)codec.encode(large));
}

TEST(VectorCodec, DamagedCodesAreRefusedOrScored) {
  const Matrix rows = sample(300);
  std::mt19937 random(4);
  for (const std::string& name : kNames) {
    const VectorCodec codec = VectorCodec::fit(name, rows);
    auto codes = codec.encode(rows);
    for (int round = 0; round < 200; ++round) codes[random() % codes.size()] = static_cast<std::uint8_t>(random());
    try {
      for (const float score : codec.score(rows.row(1), codes)) EXPECT_TRUE(std::isfinite(score)) << name;
      (void)codec.decode(codes);
    } catch (const FormatError&) {
    }
  }
}

TEST(VectorCodec, DamagedBytesAreRefused) {
  const Matrix rows = sample(256);
  std::mt19937 random(8);
  for (const std::string& name : {std::string("pca17-int4"), std::string("pq3"), std::string("slice9")}) {
    const std::string original = VectorCodec::fit(name, rows).save();
    for (int round = 0; round < 500; ++round) {
      std::string bytes = original;
      bytes[random() % bytes.size()] ^= static_cast<char>(1 << random() % 8);
      EXPECT_THROW((void)VectorCodec::load(bytes), FormatError);
      EXPECT_THROW((void)VectorCodec::load(original.substr(0, random() % original.size())), FormatError);
    }
    EXPECT_THROW((void)VectorCodec::load(original + "x"), FormatError);
  }
}

TEST(VectorCodec, DamageUnderARightChecksumIsRefusedOrMakesACodecThatWorks) {
  const Matrix rows = sample(256);
  std::mt19937 random(9);
  std::size_t accepted = 0;
  for (const std::string& name : {std::string("pca17-int4"), std::string("slice24-opq3"), std::string("top9")}) {
    const std::string original = VectorCodec::fit(name, rows).save();
    for (int round = 0; round < 1000; ++round) {
      std::string bytes = original.substr(0, original.size() - 8);
      const std::size_t at = random() % (round % 2 == 0 ? std::min<std::size_t>(bytes.size(), 60) : bytes.size());
      bytes[at] = static_cast<char>(random());
      if (round % 10 == 0) bytes.resize(at);
      const std::uint64_t checksum = xxh64(bytes);
      bytes.append(reinterpret_cast<const char*>(&checksum), sizeof checksum);
      try {
        const VectorCodec codec = VectorCodec::load(bytes);
        (void)codec.encode(Matrix(3, codec.dimension()));
        ++accepted;
      } catch (const FormatError&) {
      }
    }
  }
  EXPECT_GT(accepted, 0U);
}

TEST(VectorCodec, AVersionOfTheFutureIsRefusedAsSuch) {
  std::string bytes = VectorCodec::fit("int8", sample(3)).save();
  bytes[8] = 2;
  EXPECT_THROW((void)VectorCodec::load(bytes), VersionError);
}

}  // namespace
}  // namespace taesr
