#include "kernels/cpu/avx512/int8.h"

#include <algorithm>

#include "kernels/cpu/avx512/tile.h"

namespace taesr::avx512 {
namespace {

static_assert(kPerUnit<std::uint8_t> == int8::kUnit && kPanel == int8::kPanel, "the tiles read int8's panels");

/// A panel of the map.
struct Columns {
  const std::int8_t* panel;
  std::int64_t units;
  const std::int32_t* sums;
  const float* scale;
  const float* bias;
  std::int64_t count;  // of results
};

enum class End { kStore, kGelu };

template <class E, End end>
struct Linear {
  template <int R>
  struct Tile {
    TAESR_AVX512 static void run(const int8::QuantisedRows& x, const Columns& columns, E* y, std::int64_t y_stride) {
      Integers sums[R][2];
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        const __m512i shift = _mm512_set1_epi32(-x.zero[r]);
        sums[r][0] = (Integers)_mm512_mullo_epi32(shift, _mm512_loadu_si512(columns.sums));
        sums[r][1] = (Integers)_mm512_mullo_epi32(shift, _mm512_loadu_si512(columns.sums + kLanes));
      }
      multiply_tile<std::uint8_t, R>(x.values, x.stride, columns.panel, columns.units, sums);
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        const __m512 scale = load(columns.scale + half * kLanes);
        const __m512 bias = load(columns.bias + half * kLanes);
        const __mmask16 mask = first_lanes(std::max<std::int64_t>(columns.count - half * kLanes, 0));
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
          const __m512 sum = _mm512_cvtepi32_ps((__m512i)sums[r][half]);
          const __m512 value = _mm512_fmadd_ps(sum, _mm512_mul_ps(_mm512_set1_ps(x.scale[r]), scale), bias);
          store_first(y + r * y_stride + half * kLanes, mask, end == End::kGelu ? gelu(value) : value);
        }
      }
    }
  };

  /// A panel stays in the first cache while all rows pass it.
  TAESR_AVX512 static void run(const int8::QuantisedRows& x, std::int64_t rows, const int8::PackedLinear& map, Rows<E> y) {
    const std::int64_t groups = ceil_div(rows, kTileRows);
    for (std::int64_t column = 0; column < map.out; column += kPanel) {
      const Columns columns = {map.panels.const_data_ptr<std::int8_t>() + column * map.units() * int8::kUnit,
                               map.units(),
                               map.sums.const_data_ptr<std::int32_t>() + column,
                               map.scale.const_data_ptr<float>() + column,
                               map.bias.const_data_ptr<float>() + column,
                               map.out - column};
      for (std::int64_t g = 0; g < groups; ++g) {
        const std::int64_t begin = border(rows, groups, g);
        with_rows<Tile>(border(rows, groups, g + 1) - begin, x.from(begin), columns, y.row(begin) + column, y.stride);
      }
    }
  }
};

template <class E>
TAESR_AVX512_INLINE int8::Grid grid_of(const E* x, std::int64_t width) {
  __m512 least = _mm512_setzero_ps();
  __m512 most = _mm512_setzero_ps();
  for (std::int64_t i = 0; i < width; i += kLanes) {
    const __m512 values = load_first(x + i, first_lanes(width - i));
    least = _mm512_min_ps(values, least);
    most = _mm512_max_ps(values, most);
  }
  return int8::Grid::over(_mm512_reduce_min_ps(least), _mm512_reduce_max_ps(most));
}

}  // namespace

template <class E>
TAESR_AVX512 void quantise(Rows<const E> x, std::int64_t rows, std::int64_t width, const int8::QuantisedRows& y) {
  const std::int64_t padded = int8::round_up(width, int8::kUnit);
  for (std::int64_t r = 0; r < rows; ++r) {
    const E* const row = x.row(r);
    const int8::Grid grid = grid_of(row, width);
    const __m512 inverse = _mm512_set1_ps(grid.inverse);
    const __m512i zero = _mm512_set1_epi32(grid.zero);
    std::uint8_t* const integers = y.values + r * y.stride;
    for (std::int64_t i = 0; i < padded; i += kLanes) {
      const __m512 values = _mm512_mul_ps(load_first(row + i, first_lanes(std::max<std::int64_t>(width - i, 0))), inverse);
      const __m512i shifted = _mm512_max_epi32(_mm512_add_epi32(_mm512_cvtps_epi32(values), zero), _mm512_setzero_si512());
      _mm_mask_storeu_epi8(integers + i, first_lanes(padded - i), _mm512_cvtusepi32_epi8(shifted));
    }
    y.scale[r] = grid.scale;
    y.zero[r] = grid.zero;
  }
}

template <class E>
void linear(const int8::QuantisedRows& x, std::int64_t rows, const int8::PackedLinear& map, Rows<E> y) {
  Linear<E, End::kStore>::run(x, rows, map, y);
}

template <class E>
void linear_gelu(const int8::QuantisedRows& x, std::int64_t rows, const int8::PackedLinear& map, Rows<E> y) {
  Linear<E, End::kGelu>::run(x, rows, map, y);
}

template <class E>
TAESR_AVX512 void scale_row(const std::int8_t* x, float scale, std::int64_t width, E* y) {
  for (std::int64_t i = 0; i < width; i += kLanes) {
    const __mmask16 mask = first_lanes(width - i);
    const __m512i integers = _mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(mask, x + i));
    store_first(y + i, mask, _mm512_mul_ps(_mm512_cvtepi32_ps(integers), _mm512_set1_ps(scale)));
  }
}

#define TAESR_INSTANTIATE(E)                                                                                      \
  template void quantise<E>(Rows<const E>, std::int64_t, std::int64_t, const int8::QuantisedRows&);               \
  template void linear<E>(const int8::QuantisedRows&, std::int64_t, const int8::PackedLinear&, Rows<E>);          \
  template void linear_gelu<E>(const int8::QuantisedRows&, std::int64_t, const int8::PackedLinear&, Rows<E>);     \
  template void scale_row<E>(const std::int8_t*, float, std::int64_t, E*);
TAESR_INSTANTIATE(float)
TAESR_INSTANTIATE(c10::BFloat16)
#undef TAESR_INSTANTIATE

}  // namespace taesr::avx512
