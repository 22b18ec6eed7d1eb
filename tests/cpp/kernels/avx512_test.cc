#if defined(__x86_64__)

#include <cmath>
#include <limits>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/linspace.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <gtest/gtest.h>

#include "kernels/cpu/avx512/attention.h"
#include "kernels/cpu/avx512/linear.h"
#include "kernels/cpu/avx512/rows.h"

namespace taesr::avx512 {
namespace {

template <class E>
class Avx512Test : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!available<E>()) GTEST_SKIP() << "this processor lacks the instructions";
  }
  static constexpr at::ScalarType kDtype = c10::CppTypeToScalarType<E>::value;
  /// Of values near 1: what E keeps of them, or float32's share of a long sum.
  static constexpr double kRounding = kDtype == at::kFloat ? 2e-5 : 1.0 / 128;

  [[nodiscard]] static at::Tensor random(at::IntArrayRef shape, double spread = 1) {
    return (at::randn(shape) * spread).to(kDtype);
  }
  [[nodiscard]] static Rows<E> rows(at::Tensor& x) { return {x.mutable_data_ptr<E>(), x.stride(0)}; }
  [[nodiscard]] static at::Tensor like(const at::Tensor& x) { return at::empty(x.sizes(), x.options()); }

  /// Largest difference, of values above 1 relative to them.
  [[nodiscard]] static double error(const at::Tensor& got, const at::Tensor& expected) {
    const auto wanted = expected.to(at::kDouble);
    return ((got.to(at::kDouble) - wanted).abs() / wanted.abs().clamp_min(1)).max().item<double>();
  }
};

using Elements = ::testing::Types<float, c10::BFloat16>;
TYPED_TEST_SUITE(Avx512Test, Elements);

TYPED_TEST(Avx512Test, LinearIsAtensForEveryNumberOfRows) {
  using E = TypeParam;
  for (const auto& [in, out] : {std::pair{32, 32}, {384, 96}, {1536, 384}}) {
    const auto weight = this->random({out, in}, 1 / std::sqrt(in));
    const auto bias = at::randn({out});
    const PackedLinear<E> packed(weight, bias);
    for (const std::int64_t count : {1, 2, 11, 12, 13, 25, 72, 513}) {
      auto x = this->random({count, in});
      const auto expected = at::linear(x.to(at::kDouble), weight.to(at::kDouble), bias.to(at::kDouble));
      auto y = at::empty({count, out}, x.options());
      linear<E>(this->rows(x), count, packed, this->rows(y));
      EXPECT_LE(this->error(y, expected), this->kRounding) << count << " x " << in << " x " << out;
      auto sums = at::empty({count, out});
      linear_float<E>(this->rows(x), count, packed, {sums.template mutable_data_ptr<float>(), out});
      EXPECT_LE(this->error(sums, expected), 2e-5) << count << " x " << in << " x " << out;
      linear_gelu<E>(this->rows(x), count, packed, this->rows(y));
      EXPECT_LE(this->error(y, at::gelu(expected)), this->kRounding) << count << " x " << in << " x " << out;
    }
  }
}

TEST(Avx512, GeluIsExactToAMillionth) {
  if (!available<float>()) GTEST_SKIP() << "this processor lacks the instructions";
  // A product with the unit matrix: the kernel's activation alone.
  const std::int64_t count = 4000;
  auto x = at::linspace(-12, 12, count * 32).view({count, 32});
  x[0][0] = 1e30F;
  x[0][1] = -1e30F;
  const PackedLinear<float> unit(at::linspace(0, 0, 32 * 32).view({32, 32}) + at::linspace(1, 1, 32).diag(), at::linspace(0, 0, 32));
  auto y = at::empty({count, 32});
  linear_gelu<float>({x.mutable_data_ptr<float>(), 32}, count, unit, {y.mutable_data_ptr<float>(), 32});
  const auto expected = at::gelu(x.to(at::kDouble));
  EXPECT_LE(((y.to(at::kDouble) - expected).abs() / expected.abs().clamp_min(1)).max().item<double>(), 1e-6);
}

TYPED_TEST(Avx512Test, AttentionIsAtensForEveryLength) {
  using E = TypeParam;
  for (const std::int64_t size : {32, 64}) {
    for (const std::int64_t tokens : {1, 2, 15, 16, 17, 31, 32, 33, 180, 513}) {
      auto qkv = this->random({tokens, 3 * size}, 1.5);
      const auto part = [&](std::int64_t i) { return qkv.narrow(1, i * size, size).to(at::kDouble).view({1, 1, tokens, size}); };
      const auto expected = at::scaled_dot_product_attention(part(0), part(1), part(2)).view({tokens, size});
      std::vector<std::byte> scratch(attention_scratch<E>(tokens, size) + 64);
      auto* const data = qkv.template mutable_data_ptr<E>();
      const Rows<E> queries = {data, 3 * size};  // the result takes their place
      attend<E>(queries, Rows<const E>{data + size, 3 * size}, Rows<const E>{data + 2 * size, 3 * size}, queries, tokens,
                size, scratch.data());
      EXPECT_LE(this->error(qkv.narrow(1, 0, size), expected), this->kRounding) << tokens << " tokens, heads of " << size;
    }
  }
}

TYPED_TEST(Avx512Test, AttentionStandsScoresBeyondTheExponential) {
  using E = TypeParam;
  const std::int64_t tokens = 37;
  for (const double sign : {1.0, -1.0}) {
    auto qkv = this->random({tokens, 96}, 0.5);
    qkv.narrow(1, 0, 32).fill_(40 * sign);
    qkv.narrow(1, 32, 32).fill_(40);
    const auto expected = qkv.narrow(1, 64, 32).to(at::kDouble).mean(0, true).expand({tokens, 32});
    std::vector<std::byte> scratch(attention_scratch<E>(tokens, 32) + 64);
    auto* const data = qkv.template mutable_data_ptr<E>();
    attend<E>(Rows<const E>{data, 96}, Rows<const E>{data + 32, 96}, Rows<const E>{data + 64, 96}, {data, 96}, tokens, 32,
              scratch.data());
    EXPECT_LE(this->error(qkv.narrow(1, 0, 32), expected), this->kRounding) << sign;
  }
}

TYPED_TEST(Avx512Test, RowsAreAddedAndNormalisedAsAtenDoes) {
  using E = TypeParam;
  for (const std::int64_t width : {16, 96, 384}) {
    const auto gain = at::randn({width});
    const auto shift = at::randn({width});
    const Norm norm = {gain.template const_data_ptr<float>(), shift.template const_data_ptr<float>(), 1e-12F};
    const auto normed = [&](const at::Tensor& sum) {
      return at::layer_norm(sum, {width}, gain.to(at::kDouble), shift.to(at::kDouble), 1e-12);
    };
    auto sums = at::randn({7, width}) + 3;
    auto residual = this->random({7, width});
    const auto expected = normed(sums.to(at::kDouble) + residual.to(at::kDouble));
    const Rows<float> in_place = {sums.template mutable_data_ptr<float>(), width};
    add_norm<E, E>(in_place, this->rows(residual), 7, width, norm, this->rows(residual));
    EXPECT_LE(this->error(sums, expected), 1e-5);
    EXPECT_LE(this->error(residual, expected), this->kRounding);

    auto parts = this->random({3, width});
    auto y = this->random({1, width});
    std::vector<float> scratch(static_cast<std::size_t>(width));
    const Rows<E> part = this->rows(parts);
    add_norm_row<E>(part.row(0), part.row(1), part.row(2), width, norm, scratch.data(), y.template mutable_data_ptr<E>());
    EXPECT_LE(this->error(y, normed(parts.to(at::kDouble).sum(0, true))), this->kRounding);
  }
}

TYPED_TEST(Avx512Test, RowsAreReinjectedAndAveraged) {
  using E = TypeParam;
  auto x = this->random({513, 48});
  auto entry = this->random({513, 48});
  const auto scale = at::randn({48});
  const auto expected = x.to(at::kDouble) + scale.to(at::kDouble) * entry.to(at::kDouble);
  add_scaled<E>(this->rows(x), this->rows(entry), scale.template const_data_ptr<float>(), 513, 48);
  EXPECT_LE(this->error(x, expected), this->kRounding);
  auto mean = at::empty({48});
  mean_row<E>(this->rows(x), 513, 48, mean.template mutable_data_ptr<float>());
  EXPECT_LE(this->error(mean, x.to(at::kDouble).mean(0)), 1e-5);
  mean_row<E>(this->rows(x), 1, 48, mean.template mutable_data_ptr<float>());
  EXPECT_EQ(this->error(mean, x[0]), 0);
}

}  // namespace
}  // namespace taesr::avx512

#endif
