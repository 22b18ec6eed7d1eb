#include "index/distance.h"

#include <cstring>

#include <c10/util/Half.h>

#include "core/cpu.h"

#if defined(__x86_64__)
// GCC 12 takes the undefined operands of its own intrinsics for variables that were never set (PR105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#endif

namespace taesr {
namespace {

/// Sixteen independent sums, which any compiler turns into the vector instructions of its baseline.
float portable(const float* a, const float* b, std::size_t n) {
  constexpr std::size_t kLanes = 16;
  float sums[kLanes] = {};
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) sums[lane] += a[i + lane] * b[i + lane];
  }
  float total = 0;
  for (; i < n; ++i) total += a[i] * b[i];
  for (const float sum : sums) total += sum;
  return total;
}

float portable_halves(const std::uint16_t* a, const std::uint16_t* b, std::size_t n) {
  float total = 0;
  for (std::size_t i = 0; i < n; ++i) {
    std::uint16_t x;
    std::uint16_t y;
    std::memcpy(&x, a + i, sizeof x);
    std::memcpy(&y, b + i, sizeof y);
    total += c10::detail::fp16_ieee_to_fp32_value(x) * c10::detail::fp16_ieee_to_fp32_value(y);
  }
  return total;
}

std::int32_t portable_int8(const std::int8_t* a, const std::int8_t* b, std::size_t n) {
  std::int32_t total = 0;
  for (std::size_t i = 0; i < n; ++i) total += a[i] * b[i];
  return total;
}

#if defined(__x86_64__)

__attribute__((target("avx2,fma"))) float avx2(const float* a, const float* b, std::size_t n) {
  __m256 even = _mm256_setzero_ps();
  __m256 odd = _mm256_setzero_ps();
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    even = _mm256_fmadd_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i), even);
    odd = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 8), _mm256_loadu_ps(b + i + 8), odd);
  }
  alignas(32) float sums[8];
  _mm256_store_ps(sums, _mm256_add_ps(even, odd));
  float total = 0;
  for (; i < n; ++i) total += a[i] * b[i];
  for (const float sum : sums) total += sum;
  return total;
}

__attribute__((target("avx512f"))) float avx512(const float* a, const float* b, std::size_t n) {
  __m512 even = _mm512_setzero_ps();
  __m512 odd = _mm512_setzero_ps();
  std::size_t i = 0;
  for (; i + 32 <= n; i += 32) {
    even = _mm512_fmadd_ps(_mm512_loadu_ps(a + i), _mm512_loadu_ps(b + i), even);
    odd = _mm512_fmadd_ps(_mm512_loadu_ps(a + i + 16), _mm512_loadu_ps(b + i + 16), odd);
  }
  for (; i < n; i += 16) {
    const std::size_t left = n - i;
    const auto mask = static_cast<__mmask16>(left >= 16 ? 0xffff : (1u << left) - 1);
    even = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(mask, a + i), _mm512_maskz_loadu_ps(mask, b + i), even);
  }
  alignas(64) float sums[16];
  _mm512_store_ps(sums, _mm512_add_ps(even, odd));
  float total = 0;
  for (const float sum : sums) total += sum;
  return total;
}

__attribute__((target("avx2,fma,f16c"))) float avx2_halves(const std::uint16_t* a, const std::uint16_t* b,
                                                           std::size_t n) {
  __m256 even = _mm256_setzero_ps();
  __m256 odd = _mm256_setzero_ps();
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const auto* x = reinterpret_cast<const __m128i*>(a + i);
    const auto* y = reinterpret_cast<const __m128i*>(b + i);
    even = _mm256_fmadd_ps(_mm256_cvtph_ps(_mm_loadu_si128(x)), _mm256_cvtph_ps(_mm_loadu_si128(y)), even);
    odd = _mm256_fmadd_ps(_mm256_cvtph_ps(_mm_loadu_si128(x + 1)), _mm256_cvtph_ps(_mm_loadu_si128(y + 1)), odd);
  }
  alignas(32) float sums[8];
  _mm256_store_ps(sums, _mm256_add_ps(even, odd));
  float total = portable_halves(a + i, b + i, n - i);
  for (const float sum : sums) total += sum;
  return total;
}

__attribute__((target("avx512f,avx512bw,avx512vl"))) float avx512_halves(const std::uint16_t* a,
                                                                         const std::uint16_t* b, std::size_t n) {
  __m512 even = _mm512_setzero_ps();
  __m512 odd = _mm512_setzero_ps();
  std::size_t i = 0;
  for (; i + 32 <= n; i += 32) {
    const auto* x = reinterpret_cast<const __m256i*>(a + i);
    const auto* y = reinterpret_cast<const __m256i*>(b + i);
    even = _mm512_fmadd_ps(_mm512_cvtph_ps(_mm256_loadu_si256(x)), _mm512_cvtph_ps(_mm256_loadu_si256(y)), even);
    odd = _mm512_fmadd_ps(_mm512_cvtph_ps(_mm256_loadu_si256(x + 1)),
                          _mm512_cvtph_ps(_mm256_loadu_si256(y + 1)), odd);
  }
  for (; i < n; i += 16) {
    const std::size_t left = n - i;
    const auto mask = static_cast<__mmask16>(left >= 16 ? 0xffff : (1u << left) - 1);
    const __m256i x = _mm256_maskz_loadu_epi16(mask, a + i);
    const __m256i y = _mm256_maskz_loadu_epi16(mask, b + i);
    even = _mm512_fmadd_ps(_mm512_cvtph_ps(x), _mm512_cvtph_ps(y), even);
  }
  return _mm512_reduce_add_ps(_mm512_add_ps(even, odd));
}

__attribute__((target("avx2"))) std::int32_t avx2_int8(const std::int8_t* a, const std::int8_t* b, std::size_t n) {
  __m256i sums = _mm256_setzero_si256();
  std::size_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const __m256i x = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(a + i)));
    const __m256i y = _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(b + i)));
    sums = _mm256_add_epi32(sums, _mm256_madd_epi16(x, y));
  }
  alignas(32) std::int32_t parts[8];
  _mm256_store_si256(reinterpret_cast<__m256i*>(parts), sums);
  std::int32_t total = portable_int8(a + i, b + i, n - i);
  for (const std::int32_t part : parts) total += part;
  return total;
}

/// The instruction multiplies unsigned by signed numbers: a + 128 is unsigned, and 128 times the sum of b,
/// which the same instruction finds, is taken off again.
__attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni"))) std::int32_t vnni_int8(const std::int8_t* a,
                                                                                       const std::int8_t* b,
                                                                                       std::size_t n) {
  const __m512i offset = _mm512_set1_epi8(static_cast<char>(128));
  const __m512i ones = _mm512_set1_epi8(1);
  __m512i products = _mm512_setzero_si512();
  __m512i sums = _mm512_setzero_si512();
  for (std::size_t i = 0; i < n; i += 64) {
    const std::size_t left = n - i;
    const __mmask64 mask = left >= 64 ? ~__mmask64{0} : (__mmask64{1} << left) - 1;
    const __m512i x = _mm512_xor_si512(_mm512_maskz_loadu_epi8(mask, a + i), offset);
    const __m512i y = _mm512_maskz_loadu_epi8(mask, b + i);
    products = _mm512_dpbusd_epi32(products, x, y);
    sums = _mm512_dpbusd_epi32(sums, ones, y);
  }
  return _mm512_reduce_add_epi32(_mm512_sub_epi32(products, _mm512_slli_epi32(sums, 7)));
}

#endif

}  // namespace

std::vector<std::pair<std::string, HalfProduct>> half_products() {
  std::vector<std::pair<std::string, HalfProduct>> kernels;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (cpu_has_avx512()) kernels.emplace_back("avx512", avx512_halves);
  if (cpu_has_avx2()) kernels.emplace_back("avx2", avx2_halves);
#endif
  kernels.emplace_back("portable", portable_halves);
  return kernels;
}

std::vector<std::pair<std::string, Int8Product>> int8_products() {
  std::vector<std::pair<std::string, Int8Product>> kernels;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (cpu_has_avx512() && __builtin_cpu_supports("avx512vnni")) kernels.emplace_back("avx512vnni", vnni_int8);
  if (__builtin_cpu_supports("avx2")) kernels.emplace_back("avx2", avx2_int8);
#endif
  kernels.emplace_back("portable", portable_int8);
  return kernels;
}

HalfProduct best_half_product() {
  static const HalfProduct best = half_products().front().second;
  return best;
}

Int8Product best_int8_product() {
  static const Int8Product best = int8_products().front().second;
  return best;
}

std::vector<std::pair<std::string, InnerProduct>> inner_products() {
  std::vector<std::pair<std::string, InnerProduct>> kernels;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f")) kernels.emplace_back("avx512", avx512);
  if (cpu_has_avx2()) kernels.emplace_back("avx2", avx2);
#endif
  kernels.emplace_back("portable", portable);
  return kernels;
}

InnerProduct best_inner_product() {
  static const InnerProduct best = inner_products().front().second;
  return best;
}

}  // namespace taesr
