// Products of 8 bits with every set of instructions against integers in plain loops.

#include "kernels/cpu/int8/linear.h"

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/rand.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include "taesr/errors.h"

#if defined(__x86_64__)
#include "kernels/cpu/avx512/int8.h"
#endif

namespace taesr::int8 {
namespace {

constexpr std::int64_t kCounts[] = {1, 2, 3, 4, 5, 11, 12, 13, 25, 72};
constexpr std::pair<std::int64_t, std::int64_t> kSizes[] = {{32, 32}, {384, 96}, {1536, 64}, {1, 1},  {3, 5},
                                                            {7, 17},  {65, 31},  {100, 33},   {67, 48}};

/// Integers with memory of their own.
struct Buffer {
  Buffer(std::int64_t rows, std::int64_t width)
      : stride(round_up(width, kUnit) + 4), values(static_cast<std::size_t>(rows * stride)), scale(rows), zero(rows) {}

  [[nodiscard]] QuantisedRows rows() { return {values.data(), stride, scale.data(), zero.data()}; }
  [[nodiscard]] int at(std::int64_t row, std::int64_t column) const { return values[row * stride + column]; }

  std::int64_t stride;
  std::vector<std::uint8_t> values;
  std::vector<float> scale;
  std::vector<std::int32_t> zero;
};

/// A weight as the map stores it.
int weight_at(const PackedLinear& map, std::int64_t output, std::int64_t input) {
  const std::int64_t unit = output / kPanel * map.units() + input / kUnit;
  return map.panels.const_data_ptr<std::int8_t>()[(unit * kPanel + output % kPanel) * kUnit + input % kUnit];
}

/// Unbalanced values, as they are after an activation; rows of very different size.
at::Tensor random_rows(std::int64_t rows, std::int64_t width) {
  return (at::randn({rows, width}) + 0.7) * (at::rand({rows, 1}) * 10).exp();
}

const char* name_of(Instructions instructions) {
  switch (instructions) {
    case Instructions::kPortable: return "portable";
    case Instructions::kAvx2: return "avx2";
    case Instructions::kAvxVnni: return "avx_vnni";
    case Instructions::kAvx512: break;
  }
  return "avx512";
}

class Int8Test : public ::testing::TestWithParam<Instructions> {
 protected:
  void SetUp() override {
    if (!available(GetParam())) GTEST_SKIP() << "this processor lacks the instructions";
  }
};

TEST_P(Int8Test, ProductsAreThoseOfTheIntegers) {
  for (const auto& [in, out] : kSizes) {
    const PackedLinear map(at::randn({out, in}), at::randn({out}));
    const auto* scale = map.scale.const_data_ptr<float>();
    const auto* bias = map.bias.const_data_ptr<float>();
    for (const std::int64_t count : kCounts) {
      Buffer x(count, in);
      quantise(GetParam(), random_rows(count, in).const_data_ptr<float>(), count, in, x.rows());
      auto y = at::empty({count, out});
      linear(GetParam(), x.rows(), count, map, y.mutable_data_ptr<float>());
      const float* results = y.const_data_ptr<float>();
      for (std::int64_t r = 0; r < count; ++r) {
        for (std::int64_t o = 0; o < out; ++o) {
          std::int64_t sum = 0;
          for (std::int64_t i = 0; i < in; ++i) sum += (x.at(r, i) - x.zero[r]) * weight_at(map, o, i);
          const double expected = static_cast<double>(sum) * x.scale[r] * scale[o] + bias[o];
          const double size = std::abs(static_cast<double>(sum) * x.scale[r] * scale[o]) + std::abs(bias[o]);
          ASSERT_NEAR(results[r * out + o], expected, 3e-7 * size) << count << " x " << in << " x " << out;
        }
      }
    }
  }
}

TEST_P(Int8Test, SumsDoNotSaturateAtTheLargestValues) {
  const std::int64_t in = 1536;
  const auto sign = at::zeros({32, in});
  sign.fill_(1);
  const PackedLinear map(sign, at::zeros({32}));
  Buffer x(1, in);
  std::fill(x.values.begin(), x.values.end(), std::uint8_t{255});
  x.scale[0] = 1;
  x.zero[0] = 0;
  auto y = at::empty({1, 32});
  linear(GetParam(), x.rows(), 1, map, y.mutable_data_ptr<float>());
  const float expected = 255.0F * 127.0F * static_cast<float>(in) * map.scale[0].item<float>();
  for (std::int64_t i = 0; i < 32; ++i) EXPECT_FLOAT_EQ(y[0][i].item<float>(), expected);
}

TEST_P(Int8Test, RowsAreQuantisedAsThePortableWayDoes) {
  for (const std::int64_t width : {1, 3, 7, 8, 9, 16, 31, 64, 100, 384}) {
    auto x = random_rows(6, width);
    x[1].fill_(0);
    x[2].abs_();
    x[3].abs_().neg_();
    x[4].mul_(1e-38);
    Buffer expected(6, width);
    Buffer got(6, width);
    quantise(Instructions::kPortable, x.const_data_ptr<float>(), 6, width, expected.rows());
    quantise(GetParam(), x.const_data_ptr<float>(), 6, width, got.rows());
    for (std::int64_t r = 0; r < 6; ++r) {
      EXPECT_EQ(got.scale[r], expected.scale[r]);
      EXPECT_EQ(got.zero[r], expected.zero[r]);
      const float step = expected.scale[r];
      for (std::int64_t i = 0; i < width; ++i) {
        ASSERT_EQ(got.at(r, i), expected.at(r, i)) << width << ", row " << r;
        const float back = step * static_cast<float>(got.at(r, i) - got.zero[r]);
        ASSERT_NEAR(back, x[r][i].item<float>(), 0.501F * step + 1e-6F * std::abs(back)) << width << ", row " << r;
      }
    }
  }
}

TEST_P(Int8Test, ARowOfNothingButNumbersThatAreNoneHarmsNoOther) {
  auto x = at::randn({3, 40});
  x[1].fill_(std::numeric_limits<float>::quiet_NaN());
  x[1][3] = std::numeric_limits<float>::infinity();
  x[1][4] = -std::numeric_limits<float>::infinity();
  const PackedLinear map(at::randn({40, 40}), at::zeros({40}));
  Buffer all(3, 40);
  quantise(GetParam(), x.const_data_ptr<float>(), 3, 40, all.rows());
  auto y = at::empty({3, 40});
  linear(GetParam(), all.rows(), 3, map, y.mutable_data_ptr<float>());
  for (const std::int64_t r : {0, 2}) {
    Buffer alone(1, 40);
    quantise(GetParam(), x[r].const_data_ptr<float>(), 1, 40, alone.rows());
    auto expected = at::empty({1, 40});
    linear(GetParam(), alone.rows(), 1, map, expected.mutable_data_ptr<float>());
    EXPECT_TRUE(y[r].equal(expected[0])) << r;
  }
  EXPECT_FALSE(y[1].isfinite().any().item<bool>());
}

TEST_P(Int8Test, ResultsAreNearThoseOfTheFloats) {
  const auto weight = at::randn({96, 384}) / std::sqrt(384.0);
  const auto bias = at::randn({96});
  const auto x = at::randn({30, 384});
  const PackedLinear map(weight, bias);
  Buffer integers(30, 384);
  quantise(GetParam(), x.const_data_ptr<float>(), 30, 384, integers.rows());
  auto y = at::empty({30, 96});
  linear(GetParam(), integers.rows(), 30, map, y.mutable_data_ptr<float>());
  EXPECT_LE((y - at::linear(x, weight, bias)).norm().item<double>(), 0.02 * y.norm().item<double>());
}

INSTANTIATE_TEST_SUITE_P(Processors, Int8Test,
                         ::testing::Values(Instructions::kPortable, Instructions::kAvx2, Instructions::kAvxVnni,
                                           Instructions::kAvx512),
                         [](const auto& info) { return std::string(name_of(info.param)); });

TEST(Int8Weights, EveryOutputHasAScaleOfItsOwn) {
  const auto weight = at::randn({40, 50}) * (at::rand({40, 1}) * 8).exp();
  weight[7].fill_(0);
  const PackedLinear map(weight, at::zeros({40}));
  for (std::int64_t o = 0; o < 40; ++o) {
    const double step = map.scale[o].item<double>();
    int sum = 0;
    for (std::int64_t i = 0; i < 50; ++i) {
      sum += weight_at(map, o, i);
      ASSERT_NEAR(step * weight_at(map, o, i), weight[o][i].item<double>(), 0.5001 * step);
    }
    EXPECT_EQ(map.sums[o].item<int>(), sum);
    EXPECT_LE(step, weight[o].abs().max().item<double>() / 127 * 1.0001 + 2e-30);
  }
}

TEST(Int8Weights, ATableOfIntegersKeepsItsValues) {
  const auto integers = (at::rand({3000, 24}) * 254 - 127).round();
  integers.select(1, 0).fill_(-127);
  const auto scale = at::rand({3000, 1}) + 0.01;
  const Table table(integers * scale);
  EXPECT_TRUE(table.values.to(at::kFloat).equal(integers));
  EXPECT_LE((table.scale - scale.squeeze(1)).abs().max().item<double>(), 1e-6);
}

TEST(Int8Weights, MoreInputsThanASumHoldsAreRefused) {
  EXPECT_THROW(PackedLinear(at::zeros({1, kMostInputs + 1}), at::zeros({1})), InvalidArgument);
}

#if defined(__x86_64__)

template <class E>
class Int8StatesTest : public ::testing::Test {};
using States = ::testing::Types<float, c10::BFloat16>;
TYPED_TEST_SUITE(Int8StatesTest, States);

TYPED_TEST(Int8StatesTest, ReadAndWriteStatesOfEitherDtype) {
  using E = TypeParam;
  if (!avx512::available<E>() || !avx512::available<std::uint8_t>()) GTEST_SKIP() << "this processor lacks the instructions";
  constexpr auto dtype = c10::CppTypeToScalarType<E>::value;
  const double rounding = dtype == at::kFloat ? 1e-6 : 1.0 / 256;
  for (const auto& [in, out] : {std::pair{384, 96}, {67, 49}}) {
    const PackedLinear map(at::randn({out, in}) / std::sqrt(in), at::randn({out}));
    for (const std::int64_t count : kCounts) {
      const auto x = at::randn({count, in}).to(dtype);
      const auto floats = x.to(at::kFloat);
      Buffer expected(count, in);
      Buffer got(count, in);
      quantise(Instructions::kPortable, floats.template const_data_ptr<float>(), count, in, expected.rows());
      avx512::quantise<E>({x.template const_data_ptr<E>(), in}, count, in, got.rows());
      for (std::int64_t r = 0; r < count; ++r) {
        for (std::int64_t i = 0; i < in; ++i) ASSERT_EQ(got.at(r, i), expected.at(r, i));
      }
      auto wanted = at::empty({count, out});
      linear(Instructions::kPortable, expected.rows(), count, map, wanted.template mutable_data_ptr<float>());
      auto y = at::empty({count, out}, dtype);
      avx512::linear<E>(got.rows(), count, map, {y.template mutable_data_ptr<E>(), out});
      const auto near = [&](const at::Tensor& reference) {
        return ((y.to(at::kFloat) - reference).abs() / reference.abs().clamp_min(1)).max().template item<double>();
      };
      EXPECT_LE(near(wanted), rounding) << count << " x " << in << " x " << out;
      avx512::linear_gelu<E>(got.rows(), count, map, {y.template mutable_data_ptr<E>(), out});
      EXPECT_LE(near(at::gelu(wanted)), rounding + 1e-6) << count << " x " << in << " x " << out;
    }
  }
}

TYPED_TEST(Int8StatesTest, RowsOfATableAreScaled) {
  using E = TypeParam;
  if (!avx512::available<E>()) GTEST_SKIP() << "this processor lacks the instructions";
  const Table table(at::randn({5, 41}));
  std::vector<E> row(41);
  avx512::scale_row(table.values[3].template const_data_ptr<std::int8_t>(), 0.25F, 41, row.data());
  for (std::int64_t i = 0; i < 41; ++i) {
    EXPECT_EQ(static_cast<float>(row[i]), 0.25F * table.values[3][i].template item<float>());
  }
}

#endif

}  // namespace
}  // namespace taesr::int8
