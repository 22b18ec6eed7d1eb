#include "kernels/cpu/blocks/avx512.h"

#include <algorithm>
#include <cstring>

#include "kernels/cpu/avx512/simd.h"

namespace taesr::blocks {
namespace {

using avx512::Integers;
using avx512::kLanes;

static_assert(kPanel == kLanes, "a register holds a panel");

/// A panel's memory.
struct Panel {
  const std::byte* values;
  const std::byte* scales;
  const std::byte* offsets;
  std::int64_t in;
  std::int64_t blocks;
  std::int64_t outputs;  // at most kPanel
};

Panel panel_of(const PackedMatrix& matrix, std::int64_t index) {
  const auto at = [&](const at::Tensor& tensor) {
    if (!tensor.defined()) return static_cast<const std::byte*>(nullptr);
    return static_cast<const std::byte*>(tensor.const_data_ptr()) +
           index * (tensor.numel() / matrix.panels());
  };
  const std::int64_t count = std::min(kPanel, matrix.out - index * kPanel);
  return {at(matrix.values), at(matrix.scales), at(matrix.offsets), matrix.in, matrix.blocks(), count};
}

TAESR_AVX512_INLINE __m512 load_halves(const std::byte* from) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
}

TAESR_AVX512_INLINE void store(float* to, const Panel& panel, __m512 values) {
  _mm512_mask_storeu_ps(to, avx512::first_lanes(panel.outputs), values);
}

/// A number of each output.
template <GgmlType type>
TAESR_AVX512_INLINE __m512 load_numbers(const std::byte* values, std::int64_t input) {
  if constexpr (type == GgmlType::kF16) return load_halves(values + input * kPanel * 2);
  if constexpr (type == GgmlType::kBF16) {
    return avx512::load(reinterpret_cast<const c10::BFloat16*>(values) + input * kPanel);
  }
  if constexpr (type == GgmlType::kF32) {
    return _mm512_loadu_ps(reinterpret_cast<const float*>(values) + input * kPanel);
  }
}

/// R rows times a panel of numbers. Two sums a row hide the latency of the additions.
template <GgmlType type, int R>
TAESR_AVX512 void multiply_numbers(const Panel& panel, const Inputs& x, float* y, std::int64_t stride) {
  __m512 even[R];
  __m512 odd[R];
  for (int r = 0; r < R; ++r) even[r] = odd[r] = _mm512_setzero_ps();
  std::int64_t i = 0;
  for (; i + 2 <= panel.in; i += 2) {
    const __m512 first = load_numbers<type>(panel.values, i);
    const __m512 second = load_numbers<type>(panel.values, i + 1);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      even[r] = _mm512_fmadd_ps(first, _mm512_set1_ps(x.values[r * panel.in + i]), even[r]);
      odd[r] = _mm512_fmadd_ps(second, _mm512_set1_ps(x.values[r * panel.in + i + 1]), odd[r]);
    }
  }
  if (i < panel.in) {
    const __m512 last = load_numbers<type>(panel.values, i);
    for (int r = 0; r < R; ++r) {
      even[r] = _mm512_fmadd_ps(last, _mm512_set1_ps(x.values[r * panel.in + i]), even[r]);
    }
  }
  for (int r = 0; r < R; ++r) store(y + r * stride, panel, _mm512_add_ps(even[r], odd[r]));
}

/// The units of a block, without signs.
template <GgmlType type>
TAESR_AVX512_INLINE void load_units(const std::byte* values, __m512i (&units)[kUnits]) {
  constexpr std::int64_t kRegister = kPanel * kUnit;
  if constexpr (type == GgmlType::kQ8_0) {
#pragma GCC unroll 8
    for (int u = 0; u < kUnits; ++u) units[u] = _mm512_loadu_si512(values + u * kRegister);
  } else {
    const __m512i low = _mm512_set1_epi8(15);
#pragma GCC unroll 4
    for (int u = 0; u < kUnits / 2; ++u) {
      const __m512i both = _mm512_loadu_si512(values + u * kRegister);
      units[u] = _mm512_and_si512(both, low);
      units[u + kUnits / 2] = _mm512_and_si512(_mm512_srli_epi16(both, 4), low);
    }
  }
}

TAESR_AVX512_INLINE Integers add_products(Integers sum, __m512i unit, const std::int8_t* x) {
  std::int32_t values;
  std::memcpy(&values, x, sizeof values);
  return (Integers)_mm512_dpbusd_epi32((__m512i)sum, unit, _mm512_set1_epi32(values));
}

/// R rows times a panel of integers.
template <GgmlType type, int R>
TAESR_AVX512 void multiply_integers(const Panel& panel, const Inputs& x, float* y, std::int64_t stride) {
  constexpr std::int64_t kBytes = kPanel * (type == GgmlType::kQ8_0 ? kBlock : kBlock / 2);
  __m512 totals[R];
  for (int r = 0; r < R; ++r) totals[r] = _mm512_setzero_ps();
  for (std::int64_t block = 0; block < panel.blocks; ++block) {
    __m512i units[kUnits];
    load_units<type>(panel.values + block * kBytes, units);
    const __m512 scale = load_halves(panel.scales + block * kPanel * 2);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const std::int8_t* const integers = x.integers + r * panel.in + block * kBlock;
      const std::int32_t sum = x.sums[r * panel.blocks + block];
      const float x_scale = x.scales[r * panel.blocks + block];
      Integers low = (Integers)_mm512_set1_epi32(-zero_of(type) * sum);
      Integers high = {};
#pragma GCC unroll 4
      for (int u = 0; u < kUnits / 2; ++u) {
        low = add_products(low, units[u], integers + u * kUnit);
        high = add_products(high, units[u + kUnits / 2], integers + (u + kUnits / 2) * kUnit);
      }
      const __m512 product = _mm512_cvtepi32_ps((__m512i)(low + high));
      totals[r] = _mm512_fmadd_ps(product, _mm512_mul_ps(scale, _mm512_set1_ps(x_scale)), totals[r]);
      if constexpr (type == GgmlType::kQ4_1) {
        const __m512 offset = load_halves(panel.offsets + block * kPanel * 2);
        totals[r] = _mm512_fmadd_ps(offset, _mm512_set1_ps(x_scale * static_cast<float>(sum)), totals[r]);
      }
    }
  }
  for (int r = 0; r < R; ++r) store(y + r * stride, panel, totals[r]);
}

template <GgmlType type, int R>
void multiply_tile(const Panel& panel, const Inputs& x, float* y, std::int64_t stride) {
  if constexpr (is_in_blocks(type)) {
    multiply_integers<type, R>(panel, x, y, stride);
  } else {
    multiply_numbers<type, R>(panel, x, y, stride);
  }
}

/// A panel stays in the first cache while all rows pass it.
template <GgmlType type>
void multiply_panels(const Inputs& x, std::int64_t rows, const PackedMatrix& matrix, std::int64_t begin,
                     std::int64_t end, float* y) {
  for (std::int64_t index = begin; index < end; ++index) {
    const Panel panel = panel_of(matrix, index);
    float* const to = y + index * kPanel;
    std::int64_t r = 0;
    const auto pass = [&]<int R>() {
      for (; r + R <= rows; r += R) {
        multiply_tile<type, R>(panel, x.from(r, matrix.in), to + r * matrix.out, matrix.out);
      }
    };
    pass.template operator()<8>();
    pass.template operator()<4>();
    pass.template operator()<2>();
    pass.template operator()<1>();
  }
}

}  // namespace

TAESR_AVX512 void quantise_avx512(const float* values, std::int64_t blocks, std::int8_t* integers,
                                  float* scales, std::int32_t* sums) {
  for (std::int64_t block = 0; block < blocks; ++block, values += kBlock, integers += kBlock) {
    const __m512 first = _mm512_loadu_ps(values);
    const __m512 second = _mm512_loadu_ps(values + kLanes);
    const __m512i magnitudes = _mm512_max_epi32(_mm512_castps_si512(_mm512_abs_ps(first)),
                                                _mm512_castps_si512(_mm512_abs_ps(second)));
    const BlockGrid grid(_mm512_reduce_max_epi32(magnitudes));
    // Lanes that hold no number have no integer.
    const __mmask16 lanes = grid.finite ? 0xffff : 0;
    const __m512 inverse = _mm512_set1_ps(grid.inverse);
    const __m512i low = _mm512_maskz_cvtps_epi32(lanes, _mm512_mul_ps(first, inverse));
    const __m512i high = _mm512_maskz_cvtps_epi32(lanes, _mm512_mul_ps(second, inverse));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(integers), _mm512_cvtsepi32_epi8(low));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(integers + kLanes), _mm512_cvtsepi32_epi8(high));
    scales[block] = grid.scale;
    sums[block] = _mm512_reduce_add_epi32(_mm512_add_epi32(low, high));
  }
}

void multiply_avx512(const Inputs& x, std::int64_t rows, const PackedMatrix& matrix, std::int64_t begin,
                     std::int64_t end, float* y) {
  switch (matrix.type) {
    case GgmlType::kF32: return multiply_panels<GgmlType::kF32>(x, rows, matrix, begin, end, y);
    case GgmlType::kF16: return multiply_panels<GgmlType::kF16>(x, rows, matrix, begin, end, y);
    case GgmlType::kBF16: return multiply_panels<GgmlType::kBF16>(x, rows, matrix, begin, end, y);
    case GgmlType::kQ4_0: return multiply_panels<GgmlType::kQ4_0>(x, rows, matrix, begin, end, y);
    case GgmlType::kQ4_1: return multiply_panels<GgmlType::kQ4_1>(x, rows, matrix, begin, end, y);
    case GgmlType::kQ8_0: return multiply_panels<GgmlType::kQ8_0>(x, rows, matrix, begin, end, y);
  }
}

}  // namespace taesr::blocks
