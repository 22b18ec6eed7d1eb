#pragma once

#include <cstdint>

#include <cuda_runtime.h>

namespace taesr::cuda {

/// Launchers of the kernels in fused.cu; plain pointers, so that device code needs no LibTorch header.
/// States are float16 (half = true) or bfloat16, row-major [rows, width]; vectors and statistics float32.

enum class HalfType { kFloat16, kBFloat16 };

inline constexpr int kNormWidthStep = 128;  // a warp's lanes read four values each
inline constexpr int kMaxNormWidth = 1024;
inline constexpr int kGeluWidthStep = 4;
inline constexpr int kMaxGeluWidth = 4096;

/// Blocks that the backward kernels of `rows` rows launch: the first size of their `partial` buffers.
[[nodiscard]] int backward_blocks(std::int64_t rows);

struct AddNormForward {
  const void* residual;  // [rows, width]
  const void* x;         // [rows, width]
  const float* bias;     // [width]
  const float* gain;     // [width]
  const float* shift;    // [width]
  void* sum;             // [rows, width] out: residual + x + bias, rounded
  void* out;             // [rows, width]
  float* mean;           // [rows] out
  float* rstd;           // [rows] out
  std::int64_t rows;
  int width;
  float eps;
};
void add_norm_forward(const AddNormForward& call, HalfType type, cudaStream_t stream);

struct AddNormBackward {
  const void* grad_out;  // [rows, width]
  const void* sum;
  const float* gain;
  const float* mean;
  const float* rstd;
  void* grad_sum;  // [rows, width] out
  float* partial;  // [backward_blocks, 3, width] out: gradients of gain, shift and bias
  std::int64_t rows;
  int width;
};
void add_norm_backward(const AddNormBackward& call, HalfType type, cudaStream_t stream);

/// out = gelu(x + bias)
void bias_gelu_forward(const void* x, const float* bias, void* out, std::int64_t rows, int width, HalfType type,
                       cudaStream_t stream);

/// grad_x = grad_out * gelu'(x + bias); partial [backward_blocks, width] holds the bias's gradient.
struct BiasGeluBackward {
  const void* grad_out;
  const void* x;
  const float* bias;
  void* grad_x;
  float* partial;
  std::int64_t rows;
  int width;
};
void bias_gelu_backward(const BiasGeluBackward& call, HalfType type, cudaStream_t stream);

}  // namespace taesr::cuda
