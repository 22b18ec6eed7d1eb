#include "compression/kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include <bit>
#include <cstring>

#define TAESR_AVX2 __attribute__((target("avx2,fma,f16c,popcnt")))

namespace taesr {
namespace {

TAESR_AVX2 float sum_of(__m256 values) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(values), _mm256_extractf128_ps(values, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

TAESR_AVX2 __m256 eight_int8(const void* codes) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(static_cast<const __m128i*>(codes))));
}

TAESR_AVX2 float dot_int8(const float* query, const std::int8_t* codes, std::size_t n) {
  __m256 even = _mm256_setzero_ps();
  __m256 odd = _mm256_setzero_ps();
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    even = _mm256_fmadd_ps(_mm256_loadu_ps(query + i), eight_int8(codes + i), even);
    odd = _mm256_fmadd_ps(_mm256_loadu_ps(query + i + 8), eight_int8(codes + i + 8), odd);
  }
  float total = sum_of(_mm256_add_ps(even, odd));
  for (; i < n; ++i) total += query[i] * codes[i];
  return total;
}

TAESR_AVX2 float dot_int4(const float* query, const std::uint8_t* codes, std::size_t bytes) {
  const __m128i mask = _mm_set1_epi8(15);
  __m256 low = _mm256_setzero_ps();
  __m256 high = _mm256_setzero_ps();
  std::size_t i = 0;
  for (; i + 8 <= bytes; i += 8) {
    const __m128i eight = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes + i));
    const __m256i low_codes = _mm256_cvtepu8_epi32(_mm_and_si128(eight, mask));
    const __m256i high_codes = _mm256_cvtepu8_epi32(_mm_and_si128(_mm_srli_epi16(eight, 4), mask));
    low = _mm256_fmadd_ps(_mm256_loadu_ps(query + i), _mm256_cvtepi32_ps(low_codes), low);
    high = _mm256_fmadd_ps(_mm256_loadu_ps(query + bytes + i), _mm256_cvtepi32_ps(high_codes), high);
  }
  float total = sum_of(_mm256_add_ps(low, high));
  for (; i < bytes; ++i) {
    total += query[i] * static_cast<float>(codes[i] & 15) +
             query[bytes + i] * static_cast<float>(codes[i] >> 4);
  }
  return total;
}

/// All ones in the lanes whose bit is set.
TAESR_AVX2 __m256 lanes_of(std::uint8_t bits) {
  const __m256i one_each = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
  const __m256i chosen = _mm256_and_si256(_mm256_set1_epi32(bits), one_each);
  return _mm256_castsi256_ps(_mm256_cmpeq_epi32(chosen, one_each));
}

TAESR_AVX2 float dot_bits(const float* query, const std::uint8_t* bits, std::size_t bytes) {
  __m256 even = _mm256_setzero_ps();
  __m256 odd = _mm256_setzero_ps();
  std::size_t i = 0;
  for (; i + 2 <= bytes; i += 2) {
    even = _mm256_add_ps(even, _mm256_and_ps(lanes_of(bits[i]), _mm256_loadu_ps(query + 8 * i)));
    odd = _mm256_add_ps(odd, _mm256_and_ps(lanes_of(bits[i + 1]), _mm256_loadu_ps(query + 8 * i + 8)));
  }
  if (i < bytes) even = _mm256_add_ps(even, _mm256_and_ps(lanes_of(bits[i]), _mm256_loadu_ps(query + 8 * i)));
  return sum_of(_mm256_add_ps(even, odd));
}

TAESR_AVX2 float dot_half(const float* query, const std::uint16_t* halves, std::size_t n) {
  __m256 sums = _mm256_setzero_ps();
  std::size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m128i eight = _mm_loadu_si128(reinterpret_cast<const __m128i*>(halves + i));
    sums = _mm256_fmadd_ps(_mm256_loadu_ps(query + i), _mm256_cvtph_ps(eight), sums);
  }
  float total = sum_of(sums);
  for (; i < n; ++i) {
    std::uint16_t half;
    std::memcpy(&half, halves + i, sizeof half);
    total += query[i] * _cvtsh_ss(half);
  }
  return total;
}

TAESR_AVX2 float dot_marked(const float* query, const std::uint8_t* bits, std::size_t bytes,
                            const std::int8_t* values) {
  float even = 0;
  float odd = 0;
  for (std::size_t i = 0; i < bytes; ++i) {
    for (unsigned left = bits[i]; left != 0;) {
      even += query[8 * i + std::countr_zero(left)] * *values++;
      left &= left - 1;
      if (left == 0) break;
      odd += query[8 * i + std::countr_zero(left)] * *values++;
      left &= left - 1;
    }
  }
  return even + odd;
}

TAESR_AVX2 float sum_of_table(const float* table, const std::uint8_t* codes, std::size_t n) {
  const __m256i tables = _mm256_setr_epi32(0, 256, 512, 768, 1024, 1280, 1536, 1792);
  __m256 sums = _mm256_setzero_ps();
  std::size_t i = 0;
  for (; i + 8 <= n; i += 8) {
    const __m256i eight = _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes + i)));
    sums = _mm256_add_ps(sums, _mm256_i32gather_ps(table + 256 * i, _mm256_add_epi32(eight, tables), 4));
  }
  float total = sum_of(sums);
  for (; i < n; ++i) total += table[256 * i + codes[i]];
  return total;
}

TAESR_AVX2 std::uint32_t hamming(const std::uint8_t* a, const std::uint8_t* b, std::size_t bytes) {
  std::uint64_t count = 0;
  std::size_t i = 0;
  for (; i + 8 <= bytes; i += 8) {
    std::uint64_t x;
    std::uint64_t y;
    std::memcpy(&x, a + i, 8);
    std::memcpy(&y, b + i, 8);
    count += static_cast<std::uint64_t>(_mm_popcnt_u64(x ^ y));
  }
  for (; i < bytes; ++i) count += static_cast<std::uint64_t>(_mm_popcnt_u32(a[i] ^ b[i]));
  return static_cast<std::uint32_t>(count);
}

TAESR_AVX2 void products_256(const float* x, const float* columns, std::size_t n, const float* start,
                             float* products) {
  for (std::size_t j = 0; j < 256; j += 32) {
    __m256 sums[4];
    for (std::size_t l = 0; l < 4; ++l) sums[l] = _mm256_loadu_ps(start + j + 8 * l);
    for (std::size_t i = 0; i < n; ++i) {
      const __m256 value = _mm256_set1_ps(x[i]);
      for (std::size_t l = 0; l < 4; ++l) {
        sums[l] = _mm256_fmadd_ps(value, _mm256_loadu_ps(columns + 256 * i + j + 8 * l), sums[l]);
      }
    }
    for (std::size_t l = 0; l < 4; ++l) _mm256_storeu_ps(products + j + 8 * l, sums[l]);
  }
}

}  // namespace

CodeKernels avx2_code_kernels() {
  return {"avx2",     dot_int8,     dot_int4, dot_bits,    dot_half,
          dot_marked, sum_of_table, hamming,  products_256};
}

}  // namespace taesr
#endif
