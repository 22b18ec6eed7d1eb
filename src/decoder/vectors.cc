#include "decoder/vectors.h"

#include <algorithm>
#include <cmath>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) && \
    !defined(__SANITIZE_THREAD__)
// One copy a processor; the loader chooses. (Sanitizers start after the loader.)
#define TAESR_CLONES __attribute__((target_clones("arch=skylake-avx512", "arch=haswell", "default")))
#else
#define TAESR_CLONES
#endif

namespace taesr::vectors {
namespace {

constexpr std::int64_t kLanes = 16;

// Sums in lanes: the order of a plain sum would forbid vectors.
inline __attribute__((always_inline)) float dot(const float* a, const float* b, std::int64_t size) {
  float lanes[kLanes] = {};
  std::int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    for (std::int64_t k = 0; k < kLanes; ++k) lanes[k] += a[i + k] * b[i + k];
  }
  float sum = 0;
  for (const float lane : lanes) sum += lane;
  for (; i < size; ++i) sum += a[i] * b[i];
  return sum;
}

}  // namespace

TAESR_CLONES void rms_norm(const float* x, const float* gain, std::int64_t size, float eps, float* y) {
  const float factor = 1.0F / std::sqrt(dot(x, x, size) / static_cast<float>(size) + eps);
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

void swiglu(float* gate, const float* up, std::int64_t size) {
  for (std::int64_t i = 0; i < size; ++i) gate[i] = gate[i] / (1.0F + std::exp(-gate[i])) * up[i];
}

TAESR_CLONES void attend(const Attention& attention, float* weights, float* y) {
  const auto& [query, keys, values, stride, count, dim, scale] = attention;
  float most = -INFINITY;
  for (std::int64_t i = 0; i < count; ++i) {
    weights[i] = dot(query, keys + i * stride, dim) * scale;
    most = std::max(most, weights[i]);
  }
  float total = 0;
  for (std::int64_t i = 0; i < count; ++i) total += weights[i] = std::exp(weights[i] - most);
  std::fill(y, y + dim, 0.0F);
  for (std::int64_t i = 0; i < count; ++i) {
    const float weight = weights[i] / total;
    const float* const value = values + i * stride;
    for (std::int64_t k = 0; k < dim; ++k) y[k] += weight * value[k];
  }
}

}  // namespace taesr::vectors
