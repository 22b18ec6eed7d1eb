#include "index/distance.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

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

TEST(Distance, TheBestIsTheFirstAndThePortableOneIsAlwaysThere) {
  const auto kernels = inner_products();
  EXPECT_EQ(best_inner_product(), kernels.front().second);
  EXPECT_EQ(kernels.back().first, "portable");
}

}  // namespace
}  // namespace taesr
