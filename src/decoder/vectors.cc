#include "decoder/vectors.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
// One copy for each set of instructions; the loader chooses. Names of processors would leave one maker's out.
// (Sanitizers start after the loader.)
#define TAESR_CLONES __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define TAESR_CLONES
#endif
#define TAESR_INLINE inline __attribute__((always_inline))

// Vectors never pass from a function to another that is not inlined.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace taesr::vectors {
namespace {

constexpr std::int64_t kLanes = 16;

// One register with AVX-512, two or four with others.
using Floats = float __attribute__((vector_size(64)));
using Integers = std::int32_t __attribute__((vector_size(64)));

TAESR_INLINE Floats load(const float* x) {
  Floats values;
  std::memcpy(&values, x, sizeof values);
  return values;
}

TAESR_INLINE void store(float* x, Floats values) { std::memcpy(x, &values, sizeof values); }
TAESR_INLINE Floats spread(float value) { return value - Floats{}; }

TAESR_INLINE float sum_of(Floats values) {
  float lanes[kLanes];
  store(lanes, values);
  for (std::int64_t width = kLanes / 2; width > 0; width /= 2) {
    for (std::int64_t i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  }
  return lanes[0];
}

/// e^x to a relative error of 3e-7; x from -87 to 88, others as these.
TAESR_INLINE Floats exp(Floats x) {
  x = x < -87.0F ? spread(-87.0F) : x;
  x = x > 88.0F ? spread(88.0F) : x;
  constexpr float kWhole = 12'582'912;  // 1.5 * 2^23: floats beside it are integers
  const Floats whole = (x * 1.44269504F + kWhole) - kWhole;
  const Floats part = (x - whole * 0.693359375F) - whole * -2.12194440e-4F;  // ln 2 in two parts
  Floats y = spread(1.0F / 720);
  for (const float factor : {1.0F / 120, 1.0F / 24, 1.0F / 6, 0.5F, 1.0F, 1.0F}) y = y * part + factor;
  const Integers power = (__builtin_convertvector(whole, Integers) + 127) << 23;
  return y * (Floats)power;
}

TAESR_INLINE float sum_of_products(const float* a, const float* b, std::int64_t size) {
  Floats even = {};
  Floats odd = {};
  std::int64_t i = 0;
  for (; i + 2 * kLanes <= size; i += 2 * kLanes) {
    even += load(a + i) * load(b + i);
    odd += load(a + i + kLanes) * load(b + i + kLanes);
  }
  float sum = sum_of(even + odd);
  for (; i < size; ++i) sum += a[i] * b[i];
  return sum;
}

/// The query's products with the keys of a page.
TAESR_INLINE Floats score_page(const float* query, const float* keys, std::int64_t dim) {
  Floats sums[4] = {};
  std::int64_t i = 0;
  for (; i + 4 <= dim; i += 4) {
    for (std::int64_t k = 0; k < 4; ++k) sums[k] += query[i + k] * load(keys + (i + k) * kLanes);
  }
  for (; i < dim; ++i) sums[0] += query[i] * load(keys + i * kLanes);
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

/// Scores of all entries to weights that sum to 1; 0 for the rest of the last page.
TAESR_INLINE void softmax(float* weights, std::int64_t count) {
  const std::int64_t end = (count + kLanes - 1) / kLanes * kLanes;
  for (std::int64_t i = count; i < end; ++i) weights[i] = -std::numeric_limits<float>::infinity();
  Floats most = load(weights);
  for (std::int64_t i = kLanes; i < end; i += kLanes) {
    const Floats values = load(weights + i);
    most = values > most ? values : most;
  }
  float lanes[kLanes];
  store(lanes, most);
  const float largest = *std::max_element(lanes, lanes + kLanes);
  Floats total = {};
  for (std::int64_t i = 0; i < end; i += kLanes) {
    const Floats values = load(weights + i);
    const Floats raised =
        values == -std::numeric_limits<float>::infinity() ? Floats{} : exp(values - largest);
    store(weights + i, raised);
    total += raised;
  }
  const float inverse = 1.0F / sum_of(total);
  for (std::int64_t i = 0; i < end; i += kLanes) store(weights + i, load(weights + i) * inverse);
}

/// y [C * kLanes] = the weighted sum of these columns of the values.
template <int C>
TAESR_INLINE void mix(const Attention& attention, const float* weights, std::int64_t column, float* y) {
  Floats sums[C] = {};
  for (std::int64_t i = 0; i < attention.count; ++i) {
    const float* const page = attention.pages[i / kLanes] + attention.offset + attention.dim * kLanes;
    const float* const row = page + i % kLanes * attention.dim + column;
    for (int c = 0; c < C; ++c) sums[c] += weights[i] * load(row + c * kLanes);
  }
  for (int c = 0; c < C; ++c) store(y + column + c * kLanes, sums[c]);
}

TAESR_INLINE void mix_one(const Attention& attention, const float* weights, std::int64_t column, float* y) {
  float sum = 0;
  for (std::int64_t i = 0; i < attention.count; ++i) {
    const float* const page = attention.pages[i / kLanes] + attention.offset + attention.dim * kLanes;
    sum += weights[i] * page[i % kLanes * attention.dim + column];
  }
  y[column] = sum;
}

}  // namespace

TAESR_CLONES void add(const float* x, std::int64_t size, float* y) {
  for (std::int64_t i = 0; i < size; ++i) y[i] += x[i];
}

TAESR_CLONES float dot(const float* a, const float* b, std::int64_t size) {
  return sum_of_products(a, b, size);
}

TAESR_CLONES void rms_norm(const float* x, const float* gain, std::int64_t size, float eps, float* y) {
  const float factor = 1.0F / std::sqrt(sum_of_products(x, x, size) / static_cast<float>(size) + eps);
  for (std::int64_t i = 0; i < size; ++i) y[i] = gain[i] * (x[i] * factor);
}

TAESR_CLONES void rotate(float* first, float* second, const float* cosines, const float* sines,
                         std::int64_t size) {
  for (std::int64_t i = 0; i < size; ++i) {
    const float a = first[i];
    const float b = second[i];
    first[i] = a * cosines[i] - b * sines[i];
    second[i] = b * cosines[i] + a * sines[i];
  }
}

TAESR_CLONES void swiglu(float* gate, const float* up, std::int64_t size) {
  std::int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    const Floats x = load(gate + i);
    store(gate + i, x / (1.0F + exp(-x)) * load(up + i));
  }
  for (; i < size; ++i) gate[i] = gate[i] / (1.0F + std::exp(-gate[i])) * up[i];
}

TAESR_CLONES void attend(const Attention& attention, float* weights, float* y) {
  const auto& [query, pages, offset, count, dim, scale] = attention;
  for (std::int64_t i = 0; i < count; i += kLanes) {
    store(weights + i, score_page(query, pages[i / kLanes] + offset, dim) * scale);
  }
  softmax(weights, count);
  std::int64_t column = 0;
  for (; column + 4 * kLanes <= dim; column += 4 * kLanes) mix<4>(attention, weights, column, y);
  for (; column + kLanes <= dim; column += kLanes) mix<1>(attention, weights, column, y);
  for (; column < dim; ++column) mix_one(attention, weights, column, y);
}

TAESR_CLONES void find_maxima(const float* x, std::int64_t size, float* y) {
  for (std::int64_t begin = 0; begin < size; begin += kPart) {
    const std::int64_t end = std::min(size, begin + kPart);
    Floats most = spread(x[begin]);
    std::int64_t i = begin;
    for (; i + kLanes <= end; i += kLanes) {
      const Floats values = load(x + i);
      most = values > most ? values : most;
    }
    float lanes[kLanes];
    store(lanes, most);
    float largest = *std::max_element(lanes, lanes + kLanes);
    for (; i < end; ++i) largest = std::max(largest, x[i]);
    *y++ = largest;
  }
}

TAESR_CLONES std::int64_t find_largest(const float* x, std::int64_t size) {
  constexpr float kMost = std::numeric_limits<float>::max();
  float most = -kMost;
  bool finite = true;
  std::int64_t best = 0;
  constexpr std::int64_t kPart = 256;
  for (std::int64_t begin = 0; begin < size; begin += kPart) {
    const std::int64_t end = std::min(size, begin + kPart);
    float lanes[kLanes];
    std::fill(lanes, lanes + kLanes, -kMost);
    std::int64_t i = begin;
    Floats largest = load(lanes);
    Integers wrong = {};
    for (; i + kLanes <= end; i += kLanes) {
      const Floats values = load(x + i);
      wrong |= ~((values >= -kMost) & (values <= kMost));
      largest = values > largest ? values : largest;
    }
    store(lanes, largest);
    float here = *std::max_element(lanes, lanes + kLanes);
    for (std::int64_t k = 0; k < kLanes; ++k) finite = finite && wrong[k] == 0;
    for (; i < end; ++i) {
      finite = finite && std::isfinite(x[i]);
      here = std::max(here, x[i]);
    }
    if (here > most || begin == 0) {
      most = here;
      best = std::find(x + begin, x + end, here) - x;
    }
  }
  return finite ? best : -1;
}

}  // namespace taesr::vectors
