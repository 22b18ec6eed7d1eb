#pragma once

// Vector arithmetic of the kernels in this folder, for their sources only.

// GCC 12 warns of the undefined values in its own intrinsics (gcc.gnu.org/PR105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>

#include <cstdint>

#include "kernels/cpu/avx512/element.h"

#define TAESR_AVX512_INLINE TAESR_AVX512 __attribute__((always_inline)) inline

namespace taesr::avx512 {

inline constexpr std::int64_t kLanes = 16;  // float32 values of one register

TAESR_AVX512_INLINE __m512 load(const float* x) { return _mm512_loadu_ps(x); }
TAESR_AVX512_INLINE __m512 load(const c10::BFloat16* x) {
  const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x));
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

TAESR_AVX512_INLINE void store(float* x, __m512 value) { _mm512_storeu_ps(x, value); }
TAESR_AVX512_INLINE void store(c10::BFloat16* x, __m512 value) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(x), (__m256i)_mm512_cvtneps_pbh(value));
}

/// The first values of a register, 0 after them.
TAESR_AVX512_INLINE __m512 load_first(const float* x, __mmask16 mask) { return _mm512_maskz_loadu_ps(mask, x); }
TAESR_AVX512_INLINE __m512 load_first(const c10::BFloat16* x, __mmask16 mask) {
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, x)), 16));
}

TAESR_AVX512_INLINE void store_first(float* x, __mmask16 mask, __m512 value) { _mm512_mask_storeu_ps(x, mask, value); }
TAESR_AVX512_INLINE void store_first(c10::BFloat16* x, __mmask16 mask, __m512 value) {
  _mm256_mask_storeu_epi16(x, mask, (__m256i)_mm512_cvtneps_pbh(value));
}

/// Lanes that hold the first `count` values, of 0 or more.
TAESR_AVX512_INLINE __mmask16 first_lanes(std::int64_t count) {
  return static_cast<__mmask16>(count >= kLanes ? 0xffff : (1U << count) - 1);
}

/// Sixteen integers. __m512i stands for eight, and GCC copies every sum between the two in a loop.
using Integers = std::int32_t __attribute__((vector_size(64)));

/// Sums of products.
template <class E>
struct SumsOf {
  using Type = __m512;
};
template <>
struct SumsOf<std::uint8_t> {
  using Type = Integers;
};
template <class E>
using Sums = typename SumsOf<E>::Type;

/// sum + the products of a unit of 32 bits in every lane. Of std::uint8_t, a holds std::int8_t and b those.
template <class E>
TAESR_AVX512_INLINE Sums<E> multiply_add(Sums<E> sum, __m512i a, __m512i b) {
  if constexpr (sizeof(E) == 1) return (Integers)_mm512_dpbusd_epi32((__m512i)sum, b, a);
  if constexpr (sizeof(E) == 2) return _mm512_dpbf16_ps(sum, (__m512bh)a, (__m512bh)b);
  if constexpr (sizeof(E) == 4) return _mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), sum);
}

/// 2^x to a relative error of 2e-7; x from -126 to 126, and 0 far below.
TAESR_AVX512_INLINE __m512 exp2(__m512 x) {
  const __m512 whole = _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m512 part = _mm512_sub_ps(x, whole);  // -0.5 to 0.5
  __m512 y = _mm512_set1_ps(1.5403530e-4f);      // ln(2)^k / k!
  y = _mm512_fmadd_ps(y, part, _mm512_set1_ps(1.3333558e-3f));
  y = _mm512_fmadd_ps(y, part, _mm512_set1_ps(9.6181291e-3f));
  y = _mm512_fmadd_ps(y, part, _mm512_set1_ps(5.5504109e-2f));
  y = _mm512_fmadd_ps(y, part, _mm512_set1_ps(2.4022651e-1f));
  y = _mm512_fmadd_ps(y, part, _mm512_set1_ps(6.9314718e-1f));
  y = _mm512_fmadd_ps(y, part, _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(y, whole);
}

/// x * Phi(x) with the error function of Abramowitz and Stegun, 7.1.26 (absolute error below 1.5e-7).
TAESR_AVX512_INLINE __m512 gelu(__m512 x) {
  const __m512 magnitude = _mm512_abs_ps(x);
  const __m512 slope = _mm512_fmadd_ps(magnitude, _mm512_set1_ps(0.3275911f * 0.70710678f), _mm512_set1_ps(1.0f));
  const __m512 guess = _mm512_rcp14_ps(slope);
  const __m512 t = _mm512_mul_ps(guess, _mm512_fnmadd_ps(slope, guess, _mm512_set1_ps(2.0f)));
  __m512 tail = _mm512_set1_ps(0.5f * 1.061405429f);
  tail = _mm512_fmadd_ps(tail, t, _mm512_set1_ps(0.5f * -1.453152027f));
  tail = _mm512_fmadd_ps(tail, t, _mm512_set1_ps(0.5f * 1.421413741f));
  tail = _mm512_fmadd_ps(tail, t, _mm512_set1_ps(0.5f * -0.284496736f));
  tail = _mm512_fmadd_ps(tail, t, _mm512_set1_ps(0.5f * 0.254829592f));
  // exp(-x^2 / 2); clamped where it is 0, before the exponent leaves its range.
  const __m512 square = _mm512_min_ps(_mm512_mul_ps(x, x), _mm512_set1_ps(170.0f));
  const __m512 bell = exp2(_mm512_mul_ps(square, _mm512_set1_ps(-0.5f * 1.44269504f)));
  tail = _mm512_mul_ps(_mm512_mul_ps(tail, t), bell);  // 1 - Phi(|x|)
  // x Phi(x) = max(x, 0) - |x| (1 - Phi(|x|))
  return _mm512_fnmadd_ps(magnitude, tail, _mm512_max_ps(x, _mm512_setzero_ps()));
}

}  // namespace taesr::avx512
