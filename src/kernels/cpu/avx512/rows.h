#pragma once

#include <cstdint>

#include "kernels/cpu/avx512/element.h"

namespace taesr::avx512 {

// What happens to rows of states between the products. `width` is a multiple of 16; sums are float32.

struct Norm {
  const float* gain = nullptr;   // [width]
  const float* shift = nullptr;  // [width]
  float eps = 0;
};

/// y = norm(a + b + c), one row each: a token's embeddings. `sums` float32 [width] is scratch.
template <class E>
TAESR_AVX512 void add_norm_row(const E* a, const E* b, const E* c, std::int64_t width, const Norm& norm, float* sums,
                               E* y);

/// sums = norm(sums + residual), and its rounded copy in y. sums float32 [rows, width]; y may be residual.
template <class E, class R>
TAESR_AVX512 void add_norm(Rows<float> sums, Rows<const R> residual, std::int64_t rows, std::int64_t width,
                           const Norm& norm, Rows<E> y);

/// x += scale * entry, with a scale for each column.
template <class E>
TAESR_AVX512 void add_scaled(Rows<E> x, Rows<const E> entry, const float* scale, std::int64_t rows, std::int64_t width);

/// Mean of rows [rows, width].
template <class E>
TAESR_AVX512 void mean_row(Rows<const E> x, std::int64_t rows, std::int64_t width, float* mean);

}  // namespace taesr::avx512
