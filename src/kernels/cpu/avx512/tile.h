#pragma once

// The micro-kernel of all products, for the sources of this folder only.

#include <cstring>

#include "kernels/cpu/avx512/simd.h"

namespace taesr::avx512 {

/// Rows that a tile has at most: 12 x 2 registers of sums leave room for two of the panel and one of a row,
/// and cover the latency of the multiplication.
inline constexpr std::int64_t kTileRows = 12;

/// Sums of R rows of x times one panel. x: first row, `stride` bytes apart; panel [units][kPanel].
template <class E, int R>
TAESR_AVX512_INLINE void multiply_tile(const void* x, std::int64_t stride, const void* panel, std::int64_t units,
                                       Sums<E> (&sums)[R][2]) {
  // Three rows share a base, so that all addresses fit the general registers: base, base + s, base + 2 s.
  const char* bases[(R + 2) / 3];
#pragma GCC unroll 16
  for (int g = 0; g < (R + 2) / 3; ++g) bases[g] = static_cast<const char*>(x) + 3 * g * stride;
  const char* columns = static_cast<const char*>(panel);
  for (std::int64_t u = 0; u < units; ++u) {
    const __m512i left = _mm512_loadu_si512(columns);
    const __m512i right = _mm512_loadu_si512(columns + 64);
    columns += 128;
#pragma GCC unroll 16
    for (int r = 0; r < R; ++r) {
      int unit;
      std::memcpy(&unit, bases[r / 3] + stride * (r % 3) + 4 * u, 4);
      const __m512i spread = _mm512_set1_epi32(unit);
      sums[r][0] = multiply_add<E>(sums[r][0], left, spread);
      sums[r][1] = multiply_add<E>(sums[r][1], right, spread);
    }
  }
}

/// Calls `Kernel<R>::run(arguments...)` for R = rows, 1 to kTileRows.
template <template <int> class Kernel, class... Arguments>
TAESR_AVX512_INLINE void with_rows(std::int64_t rows, Arguments... arguments) {
  switch (rows) {
    case 1: return Kernel<1>::run(arguments...);
    case 2: return Kernel<2>::run(arguments...);
    case 3: return Kernel<3>::run(arguments...);
    case 4: return Kernel<4>::run(arguments...);
    case 5: return Kernel<5>::run(arguments...);
    case 6: return Kernel<6>::run(arguments...);
    case 7: return Kernel<7>::run(arguments...);
    case 8: return Kernel<8>::run(arguments...);
    case 9: return Kernel<9>::run(arguments...);
    case 10: return Kernel<10>::run(arguments...);
    case 11: return Kernel<11>::run(arguments...);
    default: return Kernel<12>::run(arguments...);
  }
}

/// Borders of part i of `parts` equal ones.
inline std::int64_t border(std::int64_t total, std::int64_t parts, std::int64_t i) { return total * i / parts; }
inline std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

}  // namespace taesr::avx512
