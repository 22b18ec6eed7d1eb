#include "index/distance.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include <c10/util/Half.h>

namespace taesr {
namespace {

TEST(Distance, EveryKernelAgreesWithASumInDoublePrecision) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  for (const auto& [name, kernel] : inner_products()) {
    for (std::size_t n = 0; n <= 130; ++n) {
      std::vector<float> a(n + 1), b(n + 1);
      double expected = 0;
      double magnitude = 1;
      for (std::size_t i = 0; i < n; ++i) {
        // Moved by one value, so that nothing is aligned.
        a[i + 1] = normal(random);
        b[i + 1] = normal(random);
        expected += double{a[i + 1]} * b[i + 1];
        magnitude += std::abs(double{a[i + 1]} * b[i + 1]);
      }
      EXPECT_NEAR(kernel(a.data() + 1, b.data() + 1, n), expected, 1e-6 * magnitude) << name << " n=" << n;
    }
  }
}

TEST(Distance, EveryHalfKernelAgreesWithASumInDoublePrecision) {
  std::mt19937 random(8);
  std::normal_distribution<float> normal;
  for (const auto& [name, kernel] : half_products()) {
    for (std::size_t n = 0; n <= 130; ++n) {
      std::vector<std::uint16_t> a(n), b(n);
      double expected = 0;
      for (std::size_t i = 0; i < n; ++i) {
        const c10::Half x(normal(random));
        const c10::Half y(normal(random));
        a[i] = x.x;
        b[i] = y.x;
        expected += double{static_cast<float>(x)} * static_cast<float>(y);
      }
      EXPECT_NEAR(kernel(a.data(), b.data(), n), expected, 1e-4) << name << " n=" << n;
    }
  }
}

TEST(Distance, EveryInt8KernelIsExact) {
  std::mt19937 random(9);
  for (const auto& [name, kernel] : int8_products()) {
    for (std::size_t n = 0; n <= 200; ++n) {
      std::vector<std::int8_t> a(n + 1), b(n + 1);
      std::int32_t expected = 0;
      for (std::size_t i = 1; i <= n; ++i) {
        a[i] = static_cast<std::int8_t>(n % 3 == 0 ? -128 : static_cast<int>(random() % 256) - 128);
        b[i] = static_cast<std::int8_t>(n % 3 == 0 ? -128 : static_cast<int>(random() % 256) - 128);
        expected += a[i] * b[i];
      }
      EXPECT_EQ(kernel(a.data() + 1, b.data() + 1, n), expected) << name << " n=" << n;
    }
  }
}

TEST(Distance, TheBestIsTheFirstAndThePortableOneIsAlwaysThere) {
  const auto kernels = inner_products();
  EXPECT_EQ(best_inner_product(), kernels.front().second);
  EXPECT_EQ(kernels.back().first, "portable");
  EXPECT_EQ(best_half_product(), half_products().front().second);
  EXPECT_EQ(best_int8_product(), int8_products().front().second);
  EXPECT_EQ(half_products().back().first, "portable");
  EXPECT_EQ(int8_products().back().first, "portable");
}

}  // namespace
}  // namespace taesr
