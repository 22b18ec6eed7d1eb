#include "index/distance.h"

#if defined(__x86_64__)
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

#endif

}  // namespace

std::vector<std::pair<std::string, InnerProduct>> inner_products() {
  std::vector<std::pair<std::string, InnerProduct>> kernels;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f")) kernels.emplace_back("avx512", avx512);
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) kernels.emplace_back("avx2", avx2);
#endif
  kernels.emplace_back("portable", portable);
  return kernels;
}

InnerProduct best_inner_product() {
  static const InnerProduct best = inner_products().front().second;
  return best;
}

}  // namespace taesr
