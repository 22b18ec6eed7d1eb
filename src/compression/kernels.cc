#include "compression/kernels.h"

#include <bit>
#include <cstring>

#include <c10/util/Half.h>

#include "core/cpu.h"

namespace taesr {
namespace {

float dot_int8(const float* query, const std::int8_t* codes, std::size_t n) {
  constexpr std::size_t kLanes = 16;
  float sums[kLanes] = {};
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) sums[lane] += query[i + lane] * codes[i + lane];
  }
  float total = 0;
  for (; i < n; ++i) total += query[i] * codes[i];
  for (const float sum : sums) total += sum;
  return total;
}

float dot_int4(const float* query, const std::uint8_t* codes, std::size_t bytes) {
  float low = 0;
  float high = 0;
  for (std::size_t i = 0; i < bytes; ++i) {
    low += query[i] * static_cast<float>(codes[i] & 15);
    high += query[bytes + i] * static_cast<float>(codes[i] >> 4);
  }
  return low + high;
}

float dot_bits(const float* query, const std::uint8_t* bits, std::size_t bytes) {
  float total = 0;
  for (std::size_t i = 0; i < bytes; ++i) {
    for (unsigned left = bits[i]; left != 0; left &= left - 1) total += query[8 * i + std::countr_zero(left)];
  }
  return total;
}

float dot_half(const float* query, const std::uint16_t* halves, std::size_t n) {
  float total = 0;
  for (std::size_t i = 0; i < n; ++i) {
    std::uint16_t bits;
    std::memcpy(&bits, halves + i, sizeof bits);
    total += query[i] * c10::detail::fp16_ieee_to_fp32_value(bits);
  }
  return total;
}

float dot_marked(const float* query, const std::uint8_t* bits, std::size_t bytes, const std::int8_t* values) {
  float total = 0;
  for (std::size_t i = 0; i < bytes; ++i) {
    for (unsigned left = bits[i]; left != 0; left &= left - 1) {
      total += query[8 * i + std::countr_zero(left)] * *values++;
    }
  }
  return total;
}

float sum_of_table(const float* table, const std::uint8_t* codes, std::size_t n) {
  float even = 0;
  float odd = 0;
  std::size_t i = 0;
  for (; i + 2 <= n; i += 2) {
    even += table[256 * i + codes[i]];
    odd += table[256 * (i + 1) + codes[i + 1]];
  }
  if (i < n) even += table[256 * i + codes[i]];
  return even + odd;
}

std::uint32_t hamming(const std::uint8_t* a, const std::uint8_t* b, std::size_t bytes) {
  std::uint32_t count = 0;
  std::size_t i = 0;
  for (; i + 8 <= bytes; i += 8) {
    std::uint64_t x;
    std::uint64_t y;
    std::memcpy(&x, a + i, 8);
    std::memcpy(&y, b + i, 8);
    count += static_cast<std::uint32_t>(std::popcount(x ^ y));
  }
  for (; i < bytes; ++i) count += static_cast<std::uint32_t>(std::popcount<std::uint8_t>(a[i] ^ b[i]));
  return count;
}

void products_256(const float* x, const float* columns, std::size_t n, const float* start, float* products) {
  std::memcpy(products, start, 256 * sizeof(float));
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j < 256; ++j) products[j] += x[i] * columns[256 * i + j];
  }
}

}  // namespace

CodeKernels portable_code_kernels() {
  return {"portable", dot_int8,     dot_int4, dot_bits,    dot_half,
          dot_marked, sum_of_table, hamming,  products_256};
}

std::vector<CodeKernels> code_kernels() {
  std::vector<CodeKernels> kernels;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (cpu_has_avx512() && __builtin_cpu_supports("avx512vpopcntdq")) kernels.push_back(avx512_code_kernels());
  if (cpu_has_avx2() && __builtin_cpu_supports("popcnt")) {
    kernels.push_back(avx2_code_kernels());
  }
#endif
  kernels.push_back(portable_code_kernels());
  return kernels;
}

const CodeKernels& best_code_kernels() {
  static const CodeKernels best = code_kernels().front();
  return best;
}

}  // namespace taesr
