#include "kernels/cpu/blocks/avx2.h"

#include <algorithm>
#include <cstring>

#include <immintrin.h>

// Of VNNI the compiler makes use where its intrinsics ask for it only, so processors without it run the rest.
#define TAESR_AVX2 __attribute__((target("avx2,fma,f16c,avxvnni")))
#define TAESR_AVX2_INLINE TAESR_AVX2 __attribute__((always_inline)) inline

namespace taesr::blocks {
namespace {

constexpr std::int64_t kLanes = 8;  // values of 32 bits in a register: half a panel

/// Half a panel's memory.
struct Half {
  const std::byte* values;
  const std::byte* scales;
  const std::byte* offsets;
  std::int64_t in;
  std::int64_t blocks;
  std::int64_t outputs;  // at most kLanes
};

Half half_of(const PackedMatrix& matrix, std::int64_t panel, std::int64_t side) {
  const auto at = [&](const at::Tensor& tensor, std::int64_t width) {
    if (!tensor.defined()) return static_cast<const std::byte*>(nullptr);
    const auto* const all = static_cast<const std::byte*>(tensor.const_data_ptr());
    return all + panel * (tensor.numel() / matrix.panels()) + side * kLanes * width;
  };
  const std::int64_t width =
      is_in_blocks(matrix.type) ? kUnit : static_cast<std::int64_t>(bytes_per_block(matrix.type));
  const std::int64_t count = matrix.out - panel * kPanel - side * kLanes;
  return {at(matrix.values, width), at(matrix.scales, 2),  at(matrix.offsets, 2),
          matrix.in,                matrix.blocks(), std::min(kLanes, count)};
}

TAESR_AVX2_INLINE __m256i load(const std::byte* from) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
}

TAESR_AVX2_INLINE __m256 load_halves(const std::byte* from) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
}

TAESR_AVX2_INLINE void store(float* to, __m256 values, std::int64_t count) {
  float all[kLanes];
  _mm256_storeu_ps(all, values);
  std::copy_n(all, count, to);
}

/// A number of each output.
template <GgmlType type>
TAESR_AVX2_INLINE __m256 load_numbers(const std::byte* values, std::int64_t input) {
  if constexpr (type == GgmlType::kF16) return load_halves(values + input * kPanel * 2);
  if constexpr (type == GgmlType::kBF16) {
    const __m128i upper = _mm_loadu_si128(reinterpret_cast<const __m128i*>(values + input * kPanel * 2));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(upper), 16));
  }
  if constexpr (type == GgmlType::kF32) {
    return _mm256_loadu_ps(reinterpret_cast<const float*>(values) + input * kPanel);
  }
}

/// R rows times half a panel of numbers. Two sums a row hide the latency of the additions.
template <GgmlType type, int R>
TAESR_AVX2 void multiply_numbers(const Half& half, const Inputs& x, float* y, std::int64_t stride) {
  __m256 even[R];
  __m256 odd[R];
  for (int r = 0; r < R; ++r) even[r] = odd[r] = _mm256_setzero_ps();
  std::int64_t i = 0;
  for (; i + 2 <= half.in; i += 2) {
    const __m256 first = load_numbers<type>(half.values, i);
    const __m256 second = load_numbers<type>(half.values, i + 1);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      even[r] = _mm256_fmadd_ps(first, _mm256_set1_ps(x.values[r * half.in + i]), even[r]);
      odd[r] = _mm256_fmadd_ps(second, _mm256_set1_ps(x.values[r * half.in + i + 1]), odd[r]);
    }
  }
  if (i < half.in) {
    const __m256 last = load_numbers<type>(half.values, i);
    for (int r = 0; r < R; ++r) {
      even[r] = _mm256_fmadd_ps(last, _mm256_set1_ps(x.values[r * half.in + i]), even[r]);
    }
  }
  for (int r = 0; r < R; ++r) store(y + r * stride, _mm256_add_ps(even[r], odd[r]), half.outputs);
}

struct Vnni {
  template <GgmlType>
  TAESR_AVX2_INLINE static __m256i add(__m256i sum, __m256i unit, __m256i x) {
    return _mm256_dpbusd_avx_epi32(sum, unit, x);
  }
};

/// AVX2's instruction for 8 bits saturates its sums of 16: it does for 4 bits, which stay far below, and 8
/// bits are widened.
struct Plain {
  template <GgmlType type>
  TAESR_AVX2_INLINE static __m256i add(__m256i sum, __m256i unit, __m256i x) {
    if constexpr (type != GgmlType::kQ8_0) {
      const __m256i pairs = _mm256_maddubs_epi16(unit, x);
      return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }
    const __m256i even = _mm256_srai_epi16(_mm256_slli_epi16(x, 8), 8);
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_and_si256(unit, _mm256_set1_epi16(255)), even));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_srli_epi16(unit, 8), _mm256_srai_epi16(x, 8)));
  }
};

/// A row times a block of half a panel.
template <class Products, GgmlType type>
TAESR_AVX2_INLINE __m256i multiply_block(const std::byte* values, const std::int8_t* x, std::int32_t start) {
  constexpr std::int64_t kRegister = kPanel * kUnit;  // to the next unit
  const auto spread = [&](std::int64_t unit) TAESR_AVX2 {
    std::int32_t bits;
    std::memcpy(&bits, x + unit * kUnit, sizeof bits);
    return _mm256_set1_epi32(bits);
  };
  __m256i sum = _mm256_set1_epi32(start);
  if constexpr (type == GgmlType::kQ8_0) {
#pragma GCC unroll 8
    for (int u = 0; u < kUnits; ++u) {
      sum = Products::template add<type>(sum, load(values + u * kRegister), spread(u));
    }
  } else {
    const __m256i low = _mm256_set1_epi8(15);
    __m256i other = _mm256_setzero_si256();
#pragma GCC unroll 4
    for (int u = 0; u < kUnits / 2; ++u) {
      const __m256i both = load(values + u * kRegister);
      sum = Products::template add<type>(sum, _mm256_and_si256(both, low), spread(u));
      const __m256i upper = _mm256_and_si256(_mm256_srli_epi16(both, 4), low);
      other = Products::template add<type>(other, upper, spread(u + kUnits / 2));
    }
    sum = _mm256_add_epi32(sum, other);
  }
  return sum;
}

/// R rows times half a panel of integers.
template <class Products, GgmlType type, int R>
TAESR_AVX2 void multiply_integers(const Half& half, const Inputs& x, float* y, std::int64_t stride) {
  constexpr std::int64_t kBytes = kPanel * (type == GgmlType::kQ8_0 ? kBlock : kBlock / 2);
  __m256 totals[R];
  for (int r = 0; r < R; ++r) totals[r] = _mm256_setzero_ps();
  for (std::int64_t block = 0; block < half.blocks; ++block) {
    const __m256 scale = load_halves(half.scales + block * kPanel * 2);
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      const std::int32_t sum = x.sums[r * half.blocks + block];
      const float x_scale = x.scales[r * half.blocks + block];
      const std::int8_t* const integers = x.integers + r * half.in + block * kBlock;
      const __m256 product = _mm256_cvtepi32_ps(
          multiply_block<Products, type>(half.values + block * kBytes, integers, -zero_of(type) * sum));
      totals[r] = _mm256_fmadd_ps(product, _mm256_mul_ps(scale, _mm256_set1_ps(x_scale)), totals[r]);
      if constexpr (type == GgmlType::kQ4_1) {
        const __m256 offset = load_halves(half.offsets + block * kPanel * 2);
        totals[r] = _mm256_fmadd_ps(offset, _mm256_set1_ps(x_scale * static_cast<float>(sum)), totals[r]);
      }
    }
  }
  for (int r = 0; r < R; ++r) store(y + r * stride, totals[r], half.outputs);
}

template <class Products, GgmlType type, int R>
void multiply_tile(const Half& half, const Inputs& x, float* y, std::int64_t stride) {
  if constexpr (is_in_blocks(type)) {
    multiply_integers<Products, type, R>(half, x, y, stride);
  } else {
    multiply_numbers<type, R>(half, x, y, stride);
  }
}

template <class Products, GgmlType type>
void multiply_panels(const Inputs& x, std::int64_t rows, const PackedMatrix& matrix, std::int64_t begin,
                     std::int64_t end, float* y) {
  for (std::int64_t index = 2 * begin; index < 2 * end; ++index) {
    const Half half = half_of(matrix, index / 2, index % 2);
    if (half.outputs <= 0) continue;
    float* const to = y + index * kLanes;
    std::int64_t r = 0;
    for (; r + 4 <= rows; r += 4) {
      multiply_tile<Products, type, 4>(half, x.from(r, matrix.in), to + r * matrix.out, matrix.out);
    }
    for (; r < rows; ++r) {
      multiply_tile<Products, type, 1>(half, x.from(r, matrix.in), to + r * matrix.out, matrix.out);
    }
  }
}

template <class Products>
void multiply_any(const Inputs& x, std::int64_t rows, const PackedMatrix& matrix, std::int64_t begin,
                  std::int64_t end, float* y) {
  switch (matrix.type) {
    case GgmlType::kF32: return multiply_panels<Products, GgmlType::kF32>(x, rows, matrix, begin, end, y);
    case GgmlType::kF16: return multiply_panels<Products, GgmlType::kF16>(x, rows, matrix, begin, end, y);
    case GgmlType::kBF16: return multiply_panels<Products, GgmlType::kBF16>(x, rows, matrix, begin, end, y);
    case GgmlType::kQ4_0: return multiply_panels<Products, GgmlType::kQ4_0>(x, rows, matrix, begin, end, y);
    case GgmlType::kQ4_1: return multiply_panels<Products, GgmlType::kQ4_1>(x, rows, matrix, begin, end, y);
    case GgmlType::kQ8_0: return multiply_panels<Products, GgmlType::kQ8_0>(x, rows, matrix, begin, end, y);
  }
}

}  // namespace

TAESR_AVX2 void quantise_avx2(const float* values, std::int64_t blocks, std::int8_t* integers, float* scales,
                              std::int32_t* sums) {
  const __m256i without_sign = _mm256_set1_epi32(0x7fffffff);
  for (std::int64_t block = 0; block < blocks; ++block, values += kBlock, integers += kBlock) {
    __m256i magnitudes = _mm256_setzero_si256();
    for (int i = 0; i < kBlock; i += kLanes) {
      const __m256i bits = _mm256_castps_si256(_mm256_loadu_ps(values + i));
      magnitudes = _mm256_max_epi32(magnitudes, _mm256_and_si256(bits, without_sign));
    }
    alignas(32) std::int32_t parts[kLanes];
    _mm256_store_si256(reinterpret_cast<__m256i*>(parts), magnitudes);
    const BlockGrid grid(*std::max_element(parts, parts + kLanes));
    // Lanes that hold no number have no integer.
    const __m256i kept = _mm256_set1_epi32(grid.finite ? -1 : 0);
    const __m256 inverse = _mm256_set1_ps(grid.inverse);
    __m256i total = _mm256_setzero_si256();
    for (int i = 0; i < kBlock; i += kLanes) {
      const __m256 scaled = _mm256_mul_ps(_mm256_loadu_ps(values + i), inverse);
      const __m256i rounded = _mm256_and_si256(_mm256_cvtps_epi32(scaled), kept);
      total = _mm256_add_epi32(total, rounded);
      const __m128i words =
          _mm_packs_epi32(_mm256_castsi256_si128(rounded), _mm256_extracti128_si256(rounded, 1));
      _mm_storel_epi64(reinterpret_cast<__m128i*>(integers + i), _mm_packs_epi16(words, words));
    }
    _mm256_store_si256(reinterpret_cast<__m256i*>(parts), total);
    scales[block] = grid.scale;
    sums[block] = 0;
    for (const std::int32_t part : parts) sums[block] += part;
  }
}

void multiply_avx2(const Inputs& x, std::int64_t rows, const PackedMatrix& matrix, std::int64_t begin,
                   std::int64_t end, float* y) {
  multiply_any<Plain>(x, rows, matrix, begin, end, y);
}

void multiply_avx_vnni(const Inputs& x, std::int64_t rows, const PackedMatrix& matrix, std::int64_t begin,
                       std::int64_t end, float* y) {
  multiply_any<Vnni>(x, rows, matrix, begin, end, y);
}

}  // namespace taesr::blocks
