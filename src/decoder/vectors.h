#pragma once

#include <cstdint>

// Arithmetic of single rows in float32, compiled for several processors.

namespace taesr::vectors {

/// One query against the keys and values of one head.
struct Attention {
  const float* query;   // [dim]
  const float* keys;    // [count], `stride` values apart
  const float* values;  // [count], `stride` values apart
  std::int64_t stride;
  std::int64_t count;  // at least 1
  std::int64_t dim;
  float scale;
};

/// y = x / rms(x) * gain (Zhang and Sennrich 2019, arXiv 1910.07467).
void rms_norm(const float* x, const float* gain, std::int64_t size, float eps, float* y);

/// Turns each pair (first[i], second[i]) by its angle (Su et al. 2021, arXiv 2104.09864).
void rotate(float* first, float* second, const float* cosines, const float* sines, std::int64_t size);

/// gate = gate * sigmoid(gate) * up (Shazeer 2020, arXiv 2002.05202).
void swiglu(float* gate, const float* up, std::int64_t size);

/// y [dim] = softmax(query keys^T scale) values. `weights` has room for `count` values.
void attend(const Attention& attention, float* weights, float* y);

}  // namespace taesr::vectors
