#include "compression/kernels.h"

#if defined(__x86_64__)
// GCC 12 takes the undefined operands of its own intrinsics for variables that were never set (PR105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>

#include <algorithm>
#include <bit>
#include <cstring>

#define TAESR_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vpopcntdq,popcnt")))

namespace taesr {
namespace {

/// The first min(count, 16) lanes.
TAESR_AVX512 __mmask16 first(std::size_t count) {
  return static_cast<__mmask16>(count >= 16 ? 0xffff : (1u << count) - 1);
}

TAESR_AVX512 float dot_int8(const float* query, const std::int8_t* codes, std::size_t n) {
  __m512 even = _mm512_setzero_ps();
  __m512 odd = _mm512_setzero_ps();
  std::size_t i = 0;
  for (; i + 32 <= n; i += 32) {
    const __m128i a = _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes + i));
    const __m128i b = _mm_loadu_si128(reinterpret_cast<const __m128i*>(codes + i + 16));
    even = _mm512_fmadd_ps(_mm512_loadu_ps(query + i), _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(a)), even);
    odd = _mm512_fmadd_ps(_mm512_loadu_ps(query + i + 16), _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(b)), odd);
  }
  for (; i < n; i += 16) {
    const __mmask16 lanes = first(n - i);
    const __m512i values = _mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(lanes, codes + i));
    even = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(lanes, query + i), _mm512_cvtepi32_ps(values), even);
  }
  return _mm512_reduce_add_ps(_mm512_add_ps(even, odd));
}

TAESR_AVX512 float dot_int4(const float* query, const std::uint8_t* codes, std::size_t bytes) {
  const __m512i mask = _mm512_set1_epi32(15);
  __m512 low = _mm512_setzero_ps();
  __m512 high = _mm512_setzero_ps();
  for (std::size_t i = 0; i < bytes; i += 16) {
    const __mmask16 lanes = first(bytes - i);
    const __m512i pairs = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(lanes, codes + i));
    const __m512 low_codes = _mm512_cvtepi32_ps(_mm512_and_epi32(pairs, mask));
    const __m512 high_codes = _mm512_cvtepi32_ps(_mm512_srli_epi32(pairs, 4));
    low = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(lanes, query + i), low_codes, low);
    high = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(lanes, query + bytes + i), high_codes, high);
  }
  return _mm512_reduce_add_ps(_mm512_add_ps(low, high));
}

TAESR_AVX512 float dot_bits(const float* query, const std::uint8_t* bits, std::size_t bytes) {
  __m512 sums[4] = {_mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps(), _mm512_setzero_ps()};
  std::size_t i = 0;
  for (; i + 8 <= bytes; i += 8) {
    std::uint64_t mask;
    std::memcpy(&mask, bits + i, sizeof mask);
    for (std::size_t l = 0; l < 4; ++l) {
      const __m512 values = _mm512_loadu_ps(query + 8 * i + 16 * l);
      sums[l] = _mm512_mask_add_ps(sums[l], static_cast<__mmask16>(mask >> 16 * l), sums[l], values);
    }
  }
  for (; i < bytes; ++i) {
    const __m512 values = _mm512_maskz_loadu_ps(bits[i], query + 8 * i);
    sums[0] = _mm512_add_ps(sums[0], values);
  }
  return _mm512_reduce_add_ps(
      _mm512_add_ps(_mm512_add_ps(sums[0], sums[1]), _mm512_add_ps(sums[2], sums[3])));
}

TAESR_AVX512 float dot_half(const float* query, const std::uint16_t* halves, std::size_t n) {
  __m512 even = _mm512_setzero_ps();
  __m512 odd = _mm512_setzero_ps();
  std::size_t i = 0;
  for (; i + 32 <= n; i += 32) {
    const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(halves + i));
    const __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(halves + i + 16));
    even = _mm512_fmadd_ps(_mm512_loadu_ps(query + i), _mm512_cvtph_ps(a), even);
    odd = _mm512_fmadd_ps(_mm512_loadu_ps(query + i + 16), _mm512_cvtph_ps(b), odd);
  }
  for (; i < n; i += 16) {
    const __mmask16 lanes = first(n - i);
    const __m512 values = _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(lanes, halves + i));
    even = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(lanes, query + i), values, even);
  }
  return _mm512_reduce_add_ps(_mm512_add_ps(even, odd));
}

TAESR_AVX512 float dot_marked(const float* query, const std::uint8_t* bits, std::size_t bytes,
                              const std::int8_t* values) {
  __m512 sums = _mm512_setzero_ps();
  for (std::size_t i = 0; i < bytes; i += 2) {
    std::uint16_t marked = 0;
    std::memcpy(&marked, bits + i, std::min<std::size_t>(2, bytes - i));
    const auto count = static_cast<std::size_t>(std::popcount(marked));
    const __m128i packed = _mm_maskz_loadu_epi8(first(count), values);
    const __m512 spread = _mm512_maskz_expand_ps(marked, _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(packed)));
    sums = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(marked, query + 8 * i), spread, sums);
    values += count;
  }
  return _mm512_reduce_add_ps(sums);
}

TAESR_AVX512 float sum_of_table(const float* table, const std::uint8_t* codes, std::size_t n) {
  const __m512i lanes_from_0 = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  const __m512i tables = _mm512_slli_epi32(lanes_from_0, 8);
  __m512 sums = _mm512_setzero_ps();
  for (std::size_t i = 0; i < n; i += 16) {
    const __mmask16 lanes = first(n - i);
    const __m512i sixteen = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(lanes, codes + i));
    const __m512i places = _mm512_add_epi32(sixteen, tables);
    sums = _mm512_add_ps(
        sums, _mm512_mask_i32gather_ps(_mm512_setzero_ps(), lanes, places, table + 256 * i, 4));
  }
  return _mm512_reduce_add_ps(sums);
}

TAESR_AVX512 std::uint32_t hamming(const std::uint8_t* a, const std::uint8_t* b, std::size_t bytes) {
  __m512i counts = _mm512_setzero_si512();
  for (std::size_t i = 0; i < bytes; i += 64) {
    const std::size_t left = bytes - i;
    const __mmask64 lanes = left >= 64 ? ~__mmask64{0} : (__mmask64{1} << left) - 1;
    const __m512i x = _mm512_maskz_loadu_epi8(lanes, a + i);
    const __m512i y = _mm512_maskz_loadu_epi8(lanes, b + i);
    counts = _mm512_add_epi64(counts, _mm512_popcnt_epi64(_mm512_xor_si512(x, y)));
  }
  return static_cast<std::uint32_t>(_mm512_reduce_add_epi64(counts));
}

TAESR_AVX512 void products_256(const float* x, const float* columns, std::size_t n, const float* start,
                               float* products) {
  __m512 sums[16];
  for (std::size_t l = 0; l < 16; ++l) sums[l] = _mm512_loadu_ps(start + 16 * l);
  for (std::size_t i = 0; i < n; ++i) {
    const __m512 value = _mm512_set1_ps(x[i]);
    for (std::size_t l = 0; l < 16; ++l) {
      sums[l] = _mm512_fmadd_ps(value, _mm512_loadu_ps(columns + 256 * i + 16 * l), sums[l]);
    }
  }
  for (std::size_t l = 0; l < 16; ++l) _mm512_storeu_ps(products + 16 * l, sums[l]);
}

}  // namespace

CodeKernels avx512_code_kernels() {
  return {"avx512",   dot_int8,     dot_int4, dot_bits,    dot_half,
          dot_marked, sum_of_table, hamming,  products_256};
}

}  // namespace taesr
#endif
