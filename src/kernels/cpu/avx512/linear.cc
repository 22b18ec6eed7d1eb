#include "kernels/cpu/avx512/linear.h"

#include <ATen/ops/empty.h>

#include "kernels/cpu/avx512/tile.h"

namespace taesr::avx512 {
namespace {

enum class End { kStore, kGelu };

template <class E, class Y, End end>
struct Linear {
  template <int R>
  struct Tile {
    TAESR_AVX512 static void run(const E* x, std::int64_t stride, const E* panel, std::int64_t units, const float* bias,
                                 Y* y, std::int64_t y_stride) {
      __m512 sums[R][2];
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        sums[r][0] = load(bias);
        sums[r][1] = load(bias + kLanes);
      }
      multiply_tile<E, R>(x, stride * static_cast<std::int64_t>(sizeof(E)), panel, units, sums);
#pragma GCC unroll 16
      for (int r = 0; r < R; ++r) {
        for (int half = 0; half < 2; ++half) {
          const __m512 sum = sums[r][half];
          store(y + r * y_stride + half * kLanes, end == End::kGelu ? gelu(sum) : sum);
        }
      }
    }
  };

  /// A panel stays in the first cache while all rows pass it.
  TAESR_AVX512 static void run(Rows<const E> x, std::int64_t rows, const PackedLinear<E>& map, Rows<Y> y) {
    const std::int64_t units = map.in / kPerUnit<E>;
    const std::int64_t groups = ceil_div(rows, kTileRows);
    const E* panel = map.panels.template const_data_ptr<E>();
    const float* bias = map.bias.template const_data_ptr<float>();
    for (std::int64_t column = 0; column < map.out; column += kPanel) {
      for (std::int64_t g = 0; g < groups; ++g) {
        const std::int64_t begin = border(rows, groups, g);
        with_rows<Tile>(border(rows, groups, g + 1) - begin, x.row(begin), x.stride, panel, units, bias + column,
                        y.row(begin) + column, y.stride);
      }
      panel += map.in * kPanel;
    }
  }
};

}  // namespace

template <class E>
PackedLinear<E>::PackedLinear(const at::Tensor& weight, const at::Tensor& offsets)
    : in(weight.size(1)), out(weight.size(0)), bias(offsets.to(at::kFloat).contiguous()) {
  constexpr auto dtype = c10::CppTypeToScalarType<E>::value;
  const std::int64_t per_unit = kPerUnit<E>;
  panels = weight.to(dtype)
               .view({out / kPanel, kPanel, in / per_unit, per_unit})
               .transpose(1, 2)
               .clone(at::MemoryFormat::Contiguous);
}

template <class E>
void linear(Rows<const E> x, std::int64_t rows, const PackedLinear<E>& map, Rows<E> y) {
  Linear<E, E, End::kStore>::run(x, rows, map, y);
}

template <class E>
void linear_float(Rows<const E> x, std::int64_t rows, const PackedLinear<E>& map, Rows<float> y) {
  Linear<E, float, End::kStore>::run(x, rows, map, y);
}

template <class E>
void linear_gelu(Rows<const E> x, std::int64_t rows, const PackedLinear<E>& map, Rows<E> y) {
  Linear<E, E, End::kGelu>::run(x, rows, map, y);
}

#define TAESR_INSTANTIATE(E)                                                                        \
  template struct PackedLinear<E>;                                                                  \
  template void linear<E>(Rows<const E>, std::int64_t, const PackedLinear<E>&, Rows<E>);            \
  template void linear_float<E>(Rows<const E>, std::int64_t, const PackedLinear<E>&, Rows<float>);  \
  template void linear_gelu<E>(Rows<const E>, std::int64_t, const PackedLinear<E>&, Rows<E>);
TAESR_INSTANTIATE(float)
TAESR_INSTANTIATE(c10::BFloat16)
#undef TAESR_INSTANTIATE

}  // namespace taesr::avx512
