#include "kernels/cpu/avx512/rows.h"

#include <cmath>

#include "core/cpu.h"
#include "kernels/cpu/avx512/simd.h"

namespace taesr::avx512 {
namespace {

/// Normalises `values` [width] in place and stores them in y too; `sum` is that of the values.
template <class E>
TAESR_AVX512_INLINE void normalise(float* values, float sum, std::int64_t width, const Norm& norm, E* y) {
  const float mean = sum / static_cast<float>(width);
  const __m512 centre = _mm512_set1_ps(mean);
  __m512 squares = _mm512_setzero_ps();
  for (std::int64_t i = 0; i < width; i += kLanes) {
    const __m512 deviation = _mm512_sub_ps(load(values + i), centre);
    squares = _mm512_fmadd_ps(deviation, deviation, squares);
  }
  const float variance = _mm512_reduce_add_ps(squares) / static_cast<float>(width);
  const __m512 scale = _mm512_set1_ps(1.0f / std::sqrt(variance + norm.eps));
  for (std::int64_t i = 0; i < width; i += kLanes) {
    const __m512 unit = _mm512_mul_ps(_mm512_sub_ps(load(values + i), centre), scale);
    const __m512 value = _mm512_fmadd_ps(unit, load(norm.gain + i), load(norm.shift + i));
    store(values + i, value);
    store(y + i, value);
  }
}

}  // namespace

template <class E>
TAESR_AVX512 void add_norm_row(const E* a, const E* b, const E* c, std::int64_t width, const Norm& norm, float* sums, E* y) {
  __m512 total = _mm512_setzero_ps();
  for (std::int64_t i = 0; i < width; i += kLanes) {
    const __m512 value = _mm512_add_ps(_mm512_add_ps(load(a + i), load(b + i)), load(c + i));
    total = _mm512_add_ps(total, value);
    store(sums + i, value);
  }
  normalise(sums, _mm512_reduce_add_ps(total), width, norm, y);
}

template <class E, class R>
TAESR_AVX512 void add_norm(Rows<float> sums, Rows<const R> residual, std::int64_t rows, std::int64_t width,
                           const Norm& norm, Rows<E> y) {
  for (std::int64_t r = 0; r < rows; ++r) {
    float* values = sums.row(r);
    const R* other = residual.row(r);
    __m512 total = _mm512_setzero_ps();
    for (std::int64_t i = 0; i < width; i += kLanes) {
      const __m512 value = _mm512_add_ps(load(values + i), load(other + i));
      total = _mm512_add_ps(total, value);
      store(values + i, value);
    }
    normalise(values, _mm512_reduce_add_ps(total), width, norm, y.row(r));
  }
}

template <class E>
TAESR_AVX512 void add_scaled(Rows<E> x, Rows<const E> entry, const float* scale, std::int64_t rows, std::int64_t width) {
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t i = 0; i < width; i += kLanes) {
      store(x.row(r) + i, _mm512_fmadd_ps(load(scale + i), load(entry.row(r) + i), load(x.row(r) + i)));
    }
  }
}

template <class E>
TAESR_AVX512 void mean_row(Rows<const E> x, std::int64_t rows, std::int64_t width, float* mean) {
  const __m512 share = _mm512_set1_ps(1.0f / static_cast<float>(rows));
  for (std::int64_t i = 0; i < width; i += kLanes) {
    __m512 sum = _mm512_setzero_ps();
    for (std::int64_t r = 0; r < rows; ++r) sum = _mm512_add_ps(sum, load(x.row(r) + i));
    store(mean + i, _mm512_mul_ps(sum, share));
  }
}

template <>
bool available<float>() {
  return cpu_has_avx512();
}

template <>
bool available<c10::BFloat16>() {
  return cpu_has_avx512() && cpu_multiplies_bfloat16();
}

template <>
bool available<std::uint8_t>() {
  return cpu_has_avx512() && __builtin_cpu_supports("avx512vnni") != 0;
}

#define TAESR_INSTANTIATE(E)                                                                                       \
  template void add_norm_row<E>(const E*, const E*, const E*, std::int64_t, const Norm&, float*, E*);                      \
  template void add_norm<E, float>(Rows<float>, Rows<const float>, std::int64_t, std::int64_t, const Norm&, Rows<E>); \
  template void add_scaled<E>(Rows<E>, Rows<const E>, const float*, std::int64_t, std::int64_t);                   \
  template void mean_row<E>(Rows<const E>, std::int64_t, std::int64_t, float*);
TAESR_INSTANTIATE(float)
TAESR_INSTANTIATE(c10::BFloat16)
#undef TAESR_INSTANTIATE
template void add_norm<c10::BFloat16, c10::BFloat16>(Rows<float>, Rows<const c10::BFloat16>, std::int64_t, std::int64_t,
                                                     const Norm&, Rows<c10::BFloat16>);

}  // namespace taesr::avx512
