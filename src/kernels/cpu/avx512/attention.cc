#include "kernels/cpu/avx512/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cpu/avx512/tile.h"

namespace taesr::avx512 {
namespace {

/// 16 x 16 values of 32 bits.
TAESR_AVX512_INLINE void transpose(__m512i (&x)[16]) {
  __m512i y[16];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) {
    y[2 * i] = _mm512_unpacklo_epi32(x[2 * i], x[2 * i + 1]);
    y[2 * i + 1] = _mm512_unpackhi_epi32(x[2 * i], x[2 * i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    x[4 * i] = _mm512_unpacklo_epi64(y[4 * i], y[4 * i + 2]);
    x[4 * i + 1] = _mm512_unpackhi_epi64(y[4 * i], y[4 * i + 2]);
    x[4 * i + 2] = _mm512_unpacklo_epi64(y[4 * i + 1], y[4 * i + 3]);
    x[4 * i + 3] = _mm512_unpackhi_epi64(y[4 * i + 1], y[4 * i + 3]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    y[i] = _mm512_shuffle_i32x4(x[i], x[4 + i], 0x88);
    y[4 + i] = _mm512_shuffle_i32x4(x[i], x[4 + i], 0xdd);
    y[8 + i] = _mm512_shuffle_i32x4(x[8 + i], x[12 + i], 0x88);
    y[12 + i] = _mm512_shuffle_i32x4(x[8 + i], x[12 + i], 0xdd);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    x[i] = _mm512_shuffle_i32x4(y[i], y[8 + i], 0x88);
    x[8 + i] = _mm512_shuffle_i32x4(y[i], y[8 + i], 0xdd);
    x[4 + i] = _mm512_shuffle_i32x4(y[4 + i], y[12 + i], 0x88);
    x[12 + i] = _mm512_shuffle_i32x4(y[4 + i], y[12 + i], 0xdd);
  }
}

/// Keys as panels [units of the head][kPanel keys], one for every kPanel keys; missing keys are 0.
template <class E>
TAESR_AVX512 void pack_keys(Rows<const E> k, std::int64_t tokens, std::int64_t head_size, E* panels) {
  const std::int64_t units = head_size / kPerUnit<E>;
  auto* target = reinterpret_cast<std::int32_t*>(panels);
  for (std::int64_t first = 0; first < tokens; first += kPanel, target += units * kPanel) {
    for (std::int64_t key = first; key < first + kPanel; key += kLanes) {
      for (std::int64_t u = 0; u < units; u += kLanes) {
        __m512i block[16];
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i) {
          block[i] = key + i < tokens ? _mm512_loadu_si512(k.row(key + i) + u * kPerUnit<E>) : _mm512_setzero_si512();
        }
        transpose(block);
#pragma GCC unroll 16
        for (int i = 0; i < 16; ++i) _mm512_storeu_si512(target + (u + i) * kPanel + (key - first), block[i]);
      }
    }
  }
}

/// Values as panels [tokens in units][kPanel of the head's columns]; missing tokens are 0.
TAESR_AVX512 void pack_values(Rows<const c10::BFloat16> v, std::int64_t tokens, std::int64_t padded,
                              std::int64_t head_size, c10::BFloat16* panels) {
  alignas(64) std::int16_t order[64];
  for (int i = 0; i < 32; ++i) {
    order[2 * i] = static_cast<std::int16_t>(i);           // of the first token
    order[2 * i + 1] = static_cast<std::int16_t>(32 + i);  // of the second
  }
  const __m512i left = _mm512_load_si512(order);
  const __m512i right = _mm512_load_si512(order + 32);
  for (std::int64_t column = 0; column < head_size; column += kPanel) {
    for (std::int64_t t = 0; t < padded; t += 2, panels += 64) {
      const __m512i a = t < tokens ? _mm512_loadu_si512(v.row(t) + column) : _mm512_setzero_si512();
      const __m512i b = t + 1 < tokens ? _mm512_loadu_si512(v.row(t + 1) + column) : _mm512_setzero_si512();
      _mm512_storeu_si512(panels, _mm512_permutex2var_epi16(a, left, b));
      _mm512_storeu_si512(panels + 32, _mm512_permutex2var_epi16(a, right, b));
    }
  }
}

TAESR_AVX512 void pack_values(Rows<const float> v, std::int64_t tokens, std::int64_t padded, std::int64_t head_size,
                              float* panels) {
  for (std::int64_t column = 0; column < head_size; column += kPanel) {
    for (std::int64_t t = 0; t < padded; ++t, panels += kPanel) {
      for (std::int64_t i = 0; i < kPanel; i += kLanes) {
        store(panels + i, t < tokens ? load(v.row(t) + column + i) : _mm512_setzero_ps());
      }
    }
  }
}

/// Scores of `tokens` keys, to weights that are not yet divided by their sum; 0 up to `padded`. Returns 1 / sum.
template <class E>
TAESR_AVX512_INLINE float soften(const float* scores, std::int64_t tokens, std::int64_t padded, float scale, E* weights) {
  const std::int64_t whole = tokens / kLanes * kLanes;
  const auto rest = static_cast<__mmask16>((1U << (tokens - whole)) - 1);
  __m512 most = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
  for (std::int64_t i = 0; i < whole; i += kLanes) most = _mm512_max_ps(most, load(scores + i));
  if (rest != 0) most = _mm512_mask_max_ps(most, rest, most, load(scores + whole));
  const __m512 factor = _mm512_set1_ps(scale);
  const __m512 shift = _mm512_set1_ps(-_mm512_reduce_max_ps(most) * scale);
  __m512 sum = _mm512_setzero_ps();
  std::int64_t i = 0;
  for (; i < whole; i += kLanes) {
    const __m512 weight = exp2(_mm512_fmadd_ps(load(scores + i), factor, shift));
    sum = _mm512_add_ps(sum, weight);
    store(weights + i, weight);
  }
  for (; i < padded; i += kLanes) {
    const __mmask16 mask = i == whole ? rest : static_cast<__mmask16>(0);
    const __m512 weight = _mm512_maskz_mov_ps(mask, exp2(_mm512_fmadd_ps(load(scores + i), factor, shift)));
    sum = _mm512_add_ps(sum, weight);
    store(weights + i, weight);
  }
  return 1.0f / _mm512_reduce_add_ps(sum);
}

/// A head's keys and values as panels, and one tile's rows of scores and weights.
template <class E>
struct Scratch {
  Scratch(std::int64_t tokens, std::int64_t head_size, void* memory) : padded(ceil_div(tokens, kPanel) * kPanel) {
    keys = static_cast<E*>(memory);
    values = keys + padded * head_size;
    weights = values + padded * head_size;
    scores = reinterpret_cast<float*>(weights + kTileRows * padded);
  }
  [[nodiscard]] static std::size_t bytes(std::int64_t tokens, std::int64_t head_size) {
    const auto padded = static_cast<std::size_t>(ceil_div(tokens, kPanel) * kPanel);
    return padded * (sizeof(E) * (2 * static_cast<std::size_t>(head_size) + kTileRows) + sizeof(float) * kTileRows);
  }

  std::int64_t padded;  // tokens of whole panels
  E* keys;
  E* values;
  E* weights;     // [kTileRows, padded]
  float* scores;  // [kTileRows, padded]
};

template <class E>
struct Attention {
  template <int R>
  struct Tile {
    TAESR_AVX512 static void run(const E* q, std::int64_t q_stride, const Scratch<E>& s, std::int64_t tokens,
                                 std::int64_t head_size, float scale, E* y, std::int64_t y_stride) {
      const std::int64_t units = head_size / kPerUnit<E>;
      for (std::int64_t key = 0; key < s.padded; key += kPanel) {
        __m512 sums[R][2];
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) sums[r][0] = sums[r][1] = _mm512_setzero_ps();
        multiply_tile<E, R>(q, q_stride * static_cast<std::int64_t>(sizeof(E)), s.keys + key * head_size, units, sums);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
          store(s.scores + r * s.padded + key, sums[r][0]);
          store(s.scores + r * s.padded + key + kLanes, sums[r][1]);
        }
      }
      float shares[R];
      for (int r = 0; r < R; ++r) {
        shares[r] = soften(s.scores + r * s.padded, tokens, s.padded, scale, s.weights + r * s.padded);
      }
      for (std::int64_t column = 0; column < head_size; column += kPanel) {
        __m512 sums[R][2];
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) sums[r][0] = sums[r][1] = _mm512_setzero_ps();
        multiply_tile<E, R>(s.weights, s.padded * static_cast<std::int64_t>(sizeof(E)), s.values + column * s.padded,
                            s.padded / kPerUnit<E>, sums);
#pragma GCC unroll 16
        for (int r = 0; r < R; ++r) {
          const __m512 share = _mm512_set1_ps(shares[r]);
          store(y + r * y_stride + column, _mm512_mul_ps(sums[r][0], share));
          store(y + r * y_stride + column + kLanes, _mm512_mul_ps(sums[r][1], share));
        }
      }
    }
  };
};

}  // namespace

template <class E>
std::size_t attention_scratch(std::int64_t tokens, std::int64_t head_size) {
  return Scratch<E>::bytes(tokens, head_size);
}

template <class E>
TAESR_AVX512 void attend(Rows<const E> q, Rows<const E> k, Rows<const E> v, Rows<E> y, std::int64_t tokens,
                         std::int64_t head_size, void* memory) {
  const Scratch<E> scratch(tokens, head_size, memory);
  pack_keys(k, tokens, head_size, scratch.keys);
  pack_values(v, tokens, scratch.padded, head_size, scratch.values);
  const auto scale = static_cast<float>(1.44269504 / std::sqrt(static_cast<double>(head_size)));  // to powers of 2
  const std::int64_t groups = ceil_div(tokens, kTileRows);
  for (std::int64_t g = 0; g < groups; ++g) {
    const std::int64_t begin = border(tokens, groups, g);
    with_rows<Attention<E>::template Tile>(border(tokens, groups, g + 1) - begin, q.row(begin), q.stride, scratch, tokens,
                                           head_size, scale, y.row(begin), y.stride);
  }
}

#define TAESR_INSTANTIATE(E)                                                                                      \
  template std::size_t attention_scratch<E>(std::int64_t, std::int64_t);                                          \
  template void attend<E>(Rows<const E>, Rows<const E>, Rows<const E>, Rows<E>, std::int64_t, std::int64_t, void*);
TAESR_INSTANTIATE(float)
TAESR_INSTANTIATE(c10::BFloat16)
#undef TAESR_INSTANTIATE

}  // namespace taesr::avx512
