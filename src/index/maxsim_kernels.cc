#include "index/maxsim_kernels.h"

#include <algorithm>

#if defined(__x86_64__)
// GCC 12 takes the undefined operands of its own intrinsics for variables that were never set (PR105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#endif

#include "core/cpu.h"

namespace taesr {
namespace {

void portable(const float* group, std::size_t dimension, const float* tokens, std::size_t count, float* best) {
  for (std::size_t t = 0; t < count; ++t) {
    float sums[kMaxSimGroup] = {};
    for (std::size_t d = 0; d < dimension; ++d) {
      const float value = tokens[t * dimension + d];
      for (std::size_t i = 0; i < kMaxSimGroup; ++i) sums[i] += value * group[kMaxSimGroup * d + i];
    }
    for (std::size_t i = 0; i < kMaxSimGroup; ++i) best[i] = std::max(best[i], sums[i]);
  }
}

#if defined(__x86_64__)

__attribute__((target("avx2,fma"))) void avx2(const float* group, std::size_t dimension, const float* tokens,
                                              std::size_t count, float* best) {
  __m256 low_best = _mm256_loadu_ps(best);
  __m256 high_best = _mm256_loadu_ps(best + 8);
  std::size_t t = 0;
  for (; t + 4 <= count; t += 4) {
    __m256 low[4];
    __m256 high[4];
    for (std::size_t l = 0; l < 4; ++l) low[l] = high[l] = _mm256_setzero_ps();
    for (std::size_t d = 0; d < dimension; ++d) {
      const __m256 a = _mm256_loadu_ps(group + kMaxSimGroup * d);
      const __m256 b = _mm256_loadu_ps(group + kMaxSimGroup * d + 8);
      for (std::size_t l = 0; l < 4; ++l) {
        const __m256 value = _mm256_broadcast_ss(tokens + (t + l) * dimension + d);
        low[l] = _mm256_fmadd_ps(value, a, low[l]);
        high[l] = _mm256_fmadd_ps(value, b, high[l]);
      }
    }
    for (std::size_t l = 0; l < 4; ++l) low_best = _mm256_max_ps(low_best, low[l]);
    for (std::size_t l = 0; l < 4; ++l) high_best = _mm256_max_ps(high_best, high[l]);
  }
  for (; t < count; ++t) {
    __m256 low = _mm256_setzero_ps();
    __m256 high = _mm256_setzero_ps();
    for (std::size_t d = 0; d < dimension; ++d) {
      const __m256 value = _mm256_broadcast_ss(tokens + t * dimension + d);
      low = _mm256_fmadd_ps(value, _mm256_loadu_ps(group + kMaxSimGroup * d), low);
      high = _mm256_fmadd_ps(value, _mm256_loadu_ps(group + kMaxSimGroup * d + 8), high);
    }
    low_best = _mm256_max_ps(low_best, low);
    high_best = _mm256_max_ps(high_best, high);
  }
  _mm256_storeu_ps(best, low_best);
  _mm256_storeu_ps(best + 8, high_best);
}

__attribute__((target("avx512f"))) void avx512(const float* group, std::size_t dimension, const float* tokens,
                                               std::size_t count, float* best) {
  __m512 largest = _mm512_loadu_ps(best);
  std::size_t t = 0;
  for (; t + 8 <= count; t += 8) {
    __m512 sums[8];
    for (std::size_t l = 0; l < 8; ++l) sums[l] = _mm512_setzero_ps();
    for (std::size_t d = 0; d < dimension; ++d) {
      const __m512 values = _mm512_loadu_ps(group + kMaxSimGroup * d);
      for (std::size_t l = 0; l < 8; ++l) {
        sums[l] = _mm512_fmadd_ps(_mm512_set1_ps(tokens[(t + l) * dimension + d]), values, sums[l]);
      }
    }
    for (std::size_t l = 0; l < 8; ++l) largest = _mm512_max_ps(largest, sums[l]);
  }
  for (; t < count; ++t) {
    __m512 sum = _mm512_setzero_ps();
    for (std::size_t d = 0; d < dimension; ++d) {
      const __m512 values = _mm512_loadu_ps(group + kMaxSimGroup * d);
      sum = _mm512_fmadd_ps(_mm512_set1_ps(tokens[t * dimension + d]), values, sum);
    }
    largest = _mm512_max_ps(largest, sum);
  }
  _mm512_storeu_ps(best, largest);
}

#endif

}  // namespace

std::vector<std::pair<std::string, MaxProducts>> max_products() {
  std::vector<std::pair<std::string, MaxProducts>> kernels;
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f")) kernels.emplace_back("avx512", avx512);
  if (cpu_has_avx2()) kernels.emplace_back("avx2", avx2);
#endif
  kernels.emplace_back("portable", portable);
  return kernels;
}

MaxProducts best_max_products() {
  static const MaxProducts best = max_products().front().second;
  return best;
}

}  // namespace taesr
