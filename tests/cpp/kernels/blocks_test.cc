// Products with weights as files store them, by every set of instructions, against plain loops in float64.

#include "kernels/cpu/blocks/product.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace taesr::blocks {
namespace {

constexpr GgmlType kTypes[] = {GgmlType::kF32, GgmlType::kF16, GgmlType::kBF16,
                               GgmlType::kQ4_0, GgmlType::kQ4_1, GgmlType::kQ8_0};
constexpr Instructions kAll[] = {Instructions::kPortable, Instructions::kAvx2, Instructions::kAvxVnni,
                                 Instructions::kAvx512};

std::uint16_t half_bits(std::mt19937& random) {
  // Signs, exponents of 2^-10 to 2^-3 and any mantissa.
  return static_cast<std::uint16_t>((random() & 0x83FFU) | (5U + random() % 8) << 10);
}

/// Random blocks of a whole matrix, every bit of their integers used.
std::vector<std::byte> random_blocks(GgmlType type, std::size_t values, std::mt19937& random) {
  std::vector<std::byte> bytes(values / values_per_block(type) * bytes_per_block(type));
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  for (std::size_t at = 0; at < bytes.size(); at += bytes_per_block(type)) {
    const std::uint16_t half = half_bits(random);
    const std::uint16_t other = half_bits(random);
    const float whole = half_to_float(half);
    if (type == GgmlType::kF32) std::memcpy(&bytes[at], &whole, 4);
    if (type == GgmlType::kBF16) std::memcpy(&bytes[at], reinterpret_cast<const char*>(&whole) + 2, 2);
    if (type == GgmlType::kF16 || is_in_blocks(type)) std::memcpy(&bytes[at], &half, 2);
    if (type == GgmlType::kQ4_1) std::memcpy(&bytes[at + 2], &other, 2);
  }
  return bytes;
}

/// Rows of inputs of very different size, with their integers.
struct Rows {
  Rows(std::int64_t rows, std::int64_t in, std::mt19937& random)
      : values(static_cast<std::size_t>(rows * in)) {
    std::normal_distribution<float> normal(0.2F, 1);
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = normal(random) * std::exp(static_cast<float>(i / 32 % 7) - 3);
    }
    integers.resize(values.size());
    scales.resize(values.size() / 32);
    sums.resize(scales.size());
  }

  void quantise_with(Instructions instructions) {
    quantise(instructions, values.data(), static_cast<std::int64_t>(scales.size()), integers.data(),
             scales.data(), sums.data());
  }

  [[nodiscard]] Inputs inputs() const { return {values.data(), integers.data(), scales.data(), sums.data()}; }
  /// What the product of this type sees of value i.
  [[nodiscard]] double seen(GgmlType type, std::size_t i) const {
    return is_in_blocks(type) ? static_cast<double>(integers[i]) * scales[i / 32] : values[i];
  }

  std::vector<float> values;
  std::vector<std::int8_t> integers;
  std::vector<float> scales;
  std::vector<std::int32_t> sums;
};

TEST(Blocks, ProductsOfEveryTypeEqualPlainLoopsWithAllInstructions) {
  std::mt19937 random(7);
  for (const GgmlType type : kTypes) {
    for (const auto& [out, in] :
         {std::pair<std::int64_t, std::int64_t>{16, 32}, {1, 64}, {33, 96}, {40, 576}, {24, 160}}) {
      const auto bytes = random_blocks(type, static_cast<std::size_t>(out * in), random);
      const PackedMatrix matrix(type, out, in, bytes);
      std::vector<float> weights(static_cast<std::size_t>(out * in));
      dequantise(type, bytes, weights);
      for (const std::int64_t rows : {1, 2, 3, 7, 8, 13}) {
        Rows x(rows, in, random);
        x.quantise_with(Instructions::kPortable);
        for (const Instructions instructions : kAll) {
          if (!available(instructions)) continue;
          std::vector<float> y(static_cast<std::size_t>(rows * out), 1e9F);
          multiply(instructions, x.inputs(), rows, matrix, 0, matrix.panels(), y.data());
          for (std::int64_t r = 0; r < rows; ++r) {
            for (std::int64_t o = 0; o < out; ++o) {
              double sum = 0;
              double size = 0;
              for (std::int64_t i = 0; i < in; ++i) {
                const double term = x.seen(type, static_cast<std::size_t>(r * in + i)) *
                                    weights[static_cast<std::size_t>(o * in + i)];
                sum += term;
                size += std::abs(term);
              }
              // Sums of float32: a few roundings of 2^-24 for each of up to 576 terms, at worst.
              ASSERT_NEAR(y[static_cast<std::size_t>(r * out + o)], sum, 2e-6 * size + 1e-12)
                  << name_of(type) << " [" << out << ", " << in << "], row " << r << " of " << rows
                  << ", output " << o << ", instructions " << static_cast<int>(instructions);
            }
          }
        }
      }
    }
  }
}

TEST(Blocks, RowDoesNotDependOnItsNeighbours) {
  std::mt19937 random(8);
  for (const GgmlType type : kTypes) {
    const PackedMatrix matrix(type, 50, 192, random_blocks(type, 50 * 192, random));
    for (const Instructions instructions : kAll) {
      if (!available(instructions)) continue;
      Rows x(15, 192, random);
      x.quantise_with(instructions);
      std::vector<float> together(15 * 50);
      multiply(instructions, x.inputs(), 15, matrix, 0, matrix.panels(), together.data());
      for (std::int64_t r = 0; r < 15; ++r) {
        std::vector<float> alone(50);
        multiply(instructions, x.inputs().from(r, 192), 1, matrix, 0, 2, alone.data());
        multiply(instructions, x.inputs().from(r, 192), 1, matrix, 2, 4, alone.data());
        ASSERT_TRUE(std::equal(alone.begin(), alone.end(), together.begin() + r * 50))
            << name_of(type) << " row " << r;
      }
    }
  }
}

TEST(Blocks, IntegersOfInputsAreTheNearestAndTheSameWithAllInstructions) {
  std::mt19937 random(9);
  Rows expected(5, 192, random);
  std::fill_n(expected.values.begin(), 32, 0.0F);      // a block of zeros
  std::fill_n(expected.values.begin() + 32, 32, -3.0F);  // and one of equal values
  expected.quantise_with(Instructions::kPortable);
  for (std::size_t i = 0; i < expected.values.size(); ++i) {
    ASSERT_LE(std::abs(expected.seen(GgmlType::kQ8_0, i) - expected.values[i]),
              expected.scales[i / 32] * 0.5001F)
        << i;
  }
  for (const Instructions instructions : kAll) {
    if (!available(instructions)) continue;
    Rows found = expected;
    found.quantise_with(instructions);
    EXPECT_EQ(found.integers, expected.integers);
    EXPECT_EQ(found.scales, expected.scales);
    EXPECT_EQ(found.sums, expected.sums);
  }
  EXPECT_EQ(expected.integers[0], 0);
  EXPECT_EQ(expected.integers[40], -127);
}

TEST(Blocks, OneValueThatIsNotFiniteMakesItsBlocksScaleNoNumberAndNoIntegerOverflows) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  std::mt19937 random(12);
  for (const float wrong : {std::nanf(""), -std::nanf(""), kInfinity, -kInfinity}) {
    for (const std::size_t at : {0U, 7U, 15U, 16U, 31U}) {
      Rows rows(1, 96, random);
      rows.values[32 + at] = wrong;
      for (const Instructions instructions : kAll) {
        if (!available(instructions)) continue;
        rows.quantise_with(instructions);
        EXPECT_TRUE(std::isfinite(rows.scales[0]));
        EXPECT_TRUE(std::isnan(rows.scales[1])) << wrong << " at " << at;
        EXPECT_TRUE(std::isfinite(rows.scales[2]));
        EXPECT_EQ(std::vector<std::int8_t>(&rows.integers[32], &rows.integers[64]), std::vector<std::int8_t>(32));
        EXPECT_EQ(rows.sums[1], 0);
      }
    }
  }
}

TEST(Blocks, TheSmallestNumbersBecomeZerosAndTheLargestStayApart) {
  std::mt19937 random(13);
  Rows rows(1, 64, random);
  for (std::size_t i = 0; i < 32; ++i) rows.values[i] = i % 2 == 0 ? 1e-39F : -1e-44F;
  for (std::size_t i = 32; i < 64; ++i) rows.values[i] = i % 2 == 0 ? 3e38F : -1e38F;
  for (const Instructions instructions : kAll) {
    if (!available(instructions)) continue;
    rows.quantise_with(instructions);
    EXPECT_EQ(std::vector<std::int8_t>(&rows.integers[0], &rows.integers[32]), std::vector<std::int8_t>(32));
    EXPECT_EQ(rows.sums[0], 0);
    EXPECT_EQ(rows.integers[32], 127);
    EXPECT_EQ(rows.integers[33], -42);
    EXPECT_EQ(rows.sums[1], 16 * (127 - 42));
  }
}

TEST(Blocks, RowsReadBackAreThoseOfTheFile) {
  std::mt19937 random(10);
  for (const GgmlType type : kTypes) {
    const auto bytes = random_blocks(type, 37 * 96, random);
    const PackedMatrix matrix(type, 37, 96, bytes);
    std::vector<float> weights(37 * 96);
    dequantise(type, bytes, weights);
    for (std::int64_t row = 0; row < 37; ++row) {
      std::vector<float> values(96);
      matrix.read_row(row, values.data());
      for (std::size_t i = 0; i < 96; ++i) {
        // Q4_0's value is (integer - 8) * scale here and integer * scale - 8 * scale there.
        ASSERT_FLOAT_EQ(values[i], weights[static_cast<std::size_t>(row) * 96 + i])
            << name_of(type) << " " << row;
      }
    }
  }
}

TEST(Blocks, MatricesTakeTheMemoryOfTheirFilesUpToWholePanels) {
  std::mt19937 random(11);
  for (const GgmlType type : kTypes) {
    const auto bytes = random_blocks(type, 48 * 64, random);
    EXPECT_EQ(PackedMatrix(type, 48, 64, bytes).bytes(), bytes.size()) << name_of(type);
  }
}

}  // namespace
}  // namespace taesr::blocks
