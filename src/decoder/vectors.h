#pragma once

#include <cstdint>

// Arithmetic of single rows in float32, compiled for several processors.

namespace taesr::vectors {

/// One query against the keys and values of one head, in pages as KvCache has them.
struct Attention {
  const float* query;         // [dim]
  const float* const* pages;  // keys [dim][16], then values [16][dim]
  std::int64_t offset;        // of the head's keys in a page
  std::int64_t count;         // of entries, at least 1
  std::int64_t dim;
  float scale;
};

/// y += x.
void add(const float* x, std::int64_t size, float* y);

/// Sum of the products.
[[nodiscard]] float dot(const float* a, const float* b, std::int64_t size);

/// y = x / rms(x) * gain (Zhang and Sennrich 2019, arXiv 1910.07467).
void rms_norm(const float* x, const float* gain, std::int64_t size, float eps, float* y);

/// Turns each pair (first[i], second[i]) by its angle (Su et al. 2021, arXiv 2104.09864).
void rotate(float* first, float* second, const float* cosines, const float* sines, std::int64_t size);

/// gate = gate * sigmoid(gate) * up (Shazeer 2020, arXiv 2002.05202).
void swiglu(float* gate, const float* up, std::int64_t size);

/// y [dim] = softmax(query keys^T scale) values. `weights` has room for `count` values up to whole pages.
void attend(const Attention& attention, float* weights, float* y);

/// Index of the largest value, the first of equal ones; -1 where one is not finite.
[[nodiscard]] std::int64_t find_largest(const float* x, std::int64_t size);

/// Values whose largest find_maxima finds together.
inline constexpr std::int64_t kPart = 128;
/// The largest value of each part of x, of which the last may be shorter. x is finite.
void find_maxima(const float* x, std::int64_t size, float* y);

}  // namespace taesr::vectors
