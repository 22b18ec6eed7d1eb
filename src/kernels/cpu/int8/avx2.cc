#include "kernels/cpu/int8/avx2.h"

#include <algorithm>
#include <cstring>

#include <immintrin.h>

// Of VNNI the compiler makes use where its intrinsics ask for it only, so processors without it run the rest.
#define TAESR_AVX2 __attribute__((target("avx2,fma,avxvnni")))
#define TAESR_AVX2_INLINE TAESR_AVX2 __attribute__((always_inline)) inline

namespace taesr::int8 {
namespace {

constexpr std::int64_t kLanes = 8;         // values of 32 bits in a register
constexpr std::int64_t kTileRows = 4;      // with kTileColumns, what fits the 16 registers beside the weights
constexpr std::int64_t kTileColumns = 16;  // of a panel

TAESR_AVX2_INLINE __m256i load(const void* memory) { return _mm256_loadu_si256(static_cast<const __m256i*>(memory)); }

/// Multiplies in pairs of 16 bits: AVX2's instruction for 8 bits would saturate its sums.
struct Widened {
  TAESR_AVX2_INLINE explicit Widened(__m256i weights)
      : even(_mm256_srai_epi16(_mm256_slli_epi16(weights, 8), 8)), odd(_mm256_srai_epi16(weights, 8)) {}

  TAESR_AVX2_INLINE __m256i add_to(__m256i sum, __m256i x) const {
    const __m256i low = _mm256_and_si256(x, _mm256_set1_epi16(0xff));
    sum = _mm256_add_epi32(sum, _mm256_madd_epi16(low, even));
    return _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_srli_epi16(x, 8), odd));
  }

  __m256i even;
  __m256i odd;
};

struct Vnni {
  TAESR_AVX2_INLINE explicit Vnni(__m256i values) : weights(values) {}
  TAESR_AVX2_INLINE __m256i add_to(__m256i sum, __m256i x) const { return _mm256_dpbusd_avx_epi32(sum, x, weights); }

  __m256i weights;
};

/// kTileColumns columns of a panel.
struct Columns {
  Columns(const PackedLinear& map, std::int64_t first)
      : units(map.units()),
        weights(map.panels.const_data_ptr<std::int8_t>() + first / kPanel * units * kPanel * kUnit + first % kPanel * kUnit),
        sums(map.sums.const_data_ptr<std::int32_t>() + first),
        scale(map.scale.const_data_ptr<float>() + first),
        bias(map.bias.const_data_ptr<float>() + first),
        count(std::min(kTileColumns, map.out - first)) {}

  std::int64_t units;
  const std::int8_t* weights;  // of the first unit; the next is kPanel * kUnit further
  const std::int32_t* sums;
  const float* scale;
  const float* bias;
  std::int64_t count;  // of results
};

template <class Weights, int R>
TAESR_AVX2 void multiply_tile(const QuantisedRows& x, const Columns& columns, float* y, std::int64_t stride) {
  __m256i sums[R][2];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    const __m256i shift = _mm256_set1_epi32(-x.zero[r]);
    sums[r][0] = _mm256_mullo_epi32(shift, load(columns.sums));
    sums[r][1] = _mm256_mullo_epi32(shift, load(columns.sums + kLanes));
  }
  for (std::int64_t u = 0; u < columns.units; ++u) {
    const std::int8_t* const unit = columns.weights + u * kPanel * kUnit;
    const Weights left(load(unit));
    const Weights right(load(unit + kLanes * kUnit));
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      int values;
      std::memcpy(&values, x.values + r * x.stride + u * kUnit, kUnit);
      const __m256i spread = _mm256_set1_epi32(values);
      sums[r][0] = left.add_to(sums[r][0], spread);
      sums[r][1] = right.add_to(sums[r][1], spread);
    }
  }
  for (int r = 0; r < R; ++r) {
    float results[kTileColumns];
    for (int half = 0; half < 2; ++half) {
      const std::int64_t at = half * kLanes;
      const __m256 scale = _mm256_mul_ps(_mm256_set1_ps(x.scale[r]), _mm256_loadu_ps(columns.scale + at));
      const __m256 sum = _mm256_cvtepi32_ps(sums[r][half]);
      _mm256_storeu_ps(results + at, _mm256_fmadd_ps(sum, scale, _mm256_loadu_ps(columns.bias + at)));
    }
    std::copy_n(results, columns.count, y + r * stride);
  }
}

template <class Weights>
void multiply(const QuantisedRows& x, std::int64_t rows, const PackedLinear& map, float* y) {
  for (std::int64_t column = 0; column < map.out; column += kTileColumns) {
    const Columns columns(map, column);
    std::int64_t r = 0;
    for (; r + kTileRows <= rows; r += kTileRows) {
      multiply_tile<Weights, kTileRows>(x.from(r), columns, y + r * map.out + column, map.out);
    }
    for (; r < rows; ++r) multiply_tile<Weights, 1>(x.from(r), columns, y + r * map.out + column, map.out);
  }
}

TAESR_AVX2_INLINE float reduce(__m256 values, bool largest) {
  alignas(32) float lanes[kLanes];
  _mm256_store_ps(lanes, values);
  return largest ? *std::max_element(lanes, lanes + kLanes) : *std::min_element(lanes, lanes + kLanes);
}

TAESR_AVX2_INLINE Grid grid_of(const float* x, std::int64_t width) {
  __m256 least = _mm256_setzero_ps();
  __m256 most = _mm256_setzero_ps();
  std::int64_t i = 0;
  for (; i + kLanes <= width; i += kLanes) {
    const __m256 values = _mm256_loadu_ps(x + i);
    least = _mm256_min_ps(values, least);
    most = _mm256_max_ps(values, most);
  }
  float low = reduce(least, false);
  float high = reduce(most, true);
  for (; i < width; ++i) {
    low = std::min(low, x[i]);
    high = std::max(high, x[i]);
  }
  return Grid::over(low, high);
}

}  // namespace

TAESR_AVX2 void quantise_avx2(const float* x, std::int64_t rows, std::int64_t width, const QuantisedRows& y) {
  for (std::int64_t r = 0; r < rows; ++r, x += width) {
    const Grid grid = grid_of(x, width);
    std::uint8_t* const row = y.values + r * y.stride;
    const __m256 inverse = _mm256_set1_ps(grid.inverse);
    const __m256i zero = _mm256_set1_epi32(grid.zero);
    std::int64_t i = 0;
    for (; i + kLanes <= width; i += kLanes) {
      const __m256i values = _mm256_add_epi32(_mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x + i), inverse)), zero);
      const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(values), _mm256_extracti128_si256(values, 1));
      _mm_storel_epi64(reinterpret_cast<__m128i*>(row + i), _mm_packus_epi16(words, words));
    }
    for (; i < width; ++i) row[i] = grid.integer(x[i]);
    std::fill(row + width, row + round_up(width, kUnit), std::uint8_t{0});
    y.scale[r] = grid.scale;
    y.zero[r] = grid.zero;
  }
}

void linear_avx2(const QuantisedRows& x, std::int64_t rows, const PackedLinear& map, float* y) {
  multiply<Widened>(x, rows, map, y);
}

void linear_avx_vnni(const QuantisedRows& x, std::int64_t rows, const PackedLinear& map, float* y) {
  multiply<Vnni>(x, rows, map, y);
}

}  // namespace taesr::int8
