#include "compression/kernels.h"

#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <random>

#include <c10/util/Half.h>

namespace taesr {
namespace {

/// Values at an odd address that end where the memory does, so that reading too far is seen by sanitizers.
template <typename T>
class Unaligned {
 public:
  explicit Unaligned(std::size_t count) : bytes_(new char[count * sizeof(T) + 1]), count_(count) {}
  [[nodiscard]] T* data() { return reinterpret_cast<T*>(bytes_.get() + (sizeof(T) == 1 ? 1 : 0)); }
  [[nodiscard]] T& operator[](std::size_t i) { return data()[i]; }
  [[nodiscard]] std::size_t size() const { return count_; }

 private:
  std::unique_ptr<char[]> bytes_;
  std::size_t count_;
};

class CodeKernelsTest : public ::testing::Test {
 protected:
  Unaligned<float> floats(std::size_t n) {
    Unaligned<float> values(n);
    for (std::size_t i = 0; i < n; ++i) values[i] = normal_(random_);
    return values;
  }
  template <typename T>
  Unaligned<T> bytes(std::size_t n) {
    Unaligned<T> values(n);
    for (std::size_t i = 0; i < n; ++i) values[i] = static_cast<T>(random_());
    return values;
  }

  std::mt19937 random_{11};
  std::normal_distribution<float> normal_;
};

TEST_F(CodeKernelsTest, ThePortableOnesAreAlwaysThereAndTheBestIsTheFirst) {
  EXPECT_EQ(code_kernels().back().name, "portable");
  EXPECT_EQ(best_code_kernels().name, code_kernels().front().name);
}

TEST_F(CodeKernelsTest, Int8ProductsAgreeWithDoublePrecision) {
  for (const CodeKernels& kernels : code_kernels()) {
    for (std::size_t n = 0; n <= 130; ++n) {
      auto query = floats(n);
      auto codes = bytes<std::int8_t>(n);
      double expected = 0;
      for (std::size_t i = 0; i < n; ++i) expected += double{query[i]} * codes[i];
      EXPECT_NEAR(kernels.dot_int8(query.data(), codes.data(), n), expected, 5e-3) << kernels.name << n;
    }
  }
}

TEST_F(CodeKernelsTest, Int4ProductsAgreeWithDoublePrecision) {
  for (const CodeKernels& kernels : code_kernels()) {
    for (std::size_t n = 0; n <= 70; ++n) {
      auto query = floats(2 * n);
      auto codes = bytes<std::uint8_t>(n);
      double expected = 0;
      for (std::size_t i = 0; i < n; ++i) {
        expected += double{query[i]} * (codes[i] & 15) + double{query[n + i]} * (codes[i] >> 4);
      }
      EXPECT_NEAR(kernels.dot_int4(query.data(), codes.data(), n), expected, 1e-3) << kernels.name << n;
    }
  }
}

TEST_F(CodeKernelsTest, BitProductsAgreeWithDoublePrecision) {
  for (const CodeKernels& kernels : code_kernels()) {
    for (std::size_t n = 0; n <= 70; ++n) {
      auto query = floats(8 * n);
      auto bits = bytes<std::uint8_t>(n);
      double expected = 0;
      for (std::size_t i = 0; i < 8 * n; ++i) expected += (bits[i / 8] >> i % 8 & 1) * double{query[i]};
      EXPECT_NEAR(kernels.dot_bits(query.data(), bits.data(), n), expected, 1e-4) << kernels.name << n;
    }
  }
}

TEST_F(CodeKernelsTest, HalfProductsAgreeWithDoublePrecision) {
  for (const CodeKernels& kernels : code_kernels()) {
    for (std::size_t n = 0; n <= 130; ++n) {
      auto query = floats(n);
      Unaligned<std::uint16_t> halves(n);
      double expected = 0;
      for (std::size_t i = 0; i < n; ++i) {
        const c10::Half half(normal_(random_));
        halves[i] = half.x;
        expected += double{query[i]} * static_cast<float>(half);
      }
      EXPECT_NEAR(kernels.dot_half(query.data(), halves.data(), n), expected, 1e-4) << kernels.name << n;
    }
  }
}

TEST_F(CodeKernelsTest, MarkedProductsAgreeWithDoublePrecision) {
  for (const CodeKernels& kernels : code_kernels()) {
    for (std::size_t n = 0; n <= 70; ++n) {
      auto query = floats(8 * n);
      auto bits = bytes<std::uint8_t>(n);
      std::vector<std::size_t> marked;
      for (std::size_t i = 0; i < 8 * n; ++i) {
        if ((bits[i / 8] >> i % 8 & 1) != 0) marked.push_back(i);
      }
      auto values = bytes<std::int8_t>(marked.size());
      double expected = 0;
      for (std::size_t i = 0; i < marked.size(); ++i) expected += double{query[marked[i]]} * values[i];
      EXPECT_NEAR(kernels.dot_marked(query.data(), bits.data(), n, values.data()), expected, 1e-2)
          << kernels.name << n;
    }
  }
}

TEST_F(CodeKernelsTest, SumsOfTablesAgreeWithDoublePrecision) {
  for (const CodeKernels& kernels : code_kernels()) {
    for (std::size_t n = 0; n <= 50; ++n) {
      auto table = floats(256 * n);
      auto codes = bytes<std::uint8_t>(n);
      double expected = 0;
      for (std::size_t i = 0; i < n; ++i) expected += table[256 * i + codes[i]];
      EXPECT_NEAR(kernels.sum_of_table(table.data(), codes.data(), n), expected, 1e-4) << kernels.name << n;
    }
  }
}

TEST_F(CodeKernelsTest, HammingDistancesAreExact) {
  for (const CodeKernels& kernels : code_kernels()) {
    for (std::size_t n = 0; n <= 150; ++n) {
      auto a = bytes<std::uint8_t>(n);
      auto b = bytes<std::uint8_t>(n);
      std::uint32_t expected = 0;
      for (std::size_t i = 0; i < 8 * n; ++i) expected += (a[i / 8] ^ b[i / 8]) >> i % 8 & 1;
      EXPECT_EQ(kernels.hamming(a.data(), b.data(), n), expected) << kernels.name << n;
    }
  }
}

TEST_F(CodeKernelsTest, ProductsWith256ColumnsAgreeWithDoublePrecision) {
  for (const CodeKernels& kernels : code_kernels()) {
    for (const std::size_t n : {0, 1, 2, 3, 8, 17}) {
      auto x = floats(n);
      auto columns = floats(256 * n);
      auto start = floats(256);
      std::vector<float> products(256);
      kernels.products_256(x.data(), columns.data(), n, start.data(), products.data());
      for (std::size_t j = 0; j < 256; ++j) {
        double expected = start[j];
        for (std::size_t i = 0; i < n; ++i) expected += double{x[i]} * columns[256 * i + j];
        EXPECT_NEAR(products[j], expected, 1e-4) << kernels.name << n;
      }
    }
  }
}

}  // namespace
}  // namespace taesr
