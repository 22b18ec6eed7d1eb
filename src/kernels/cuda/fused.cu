#include "kernels/cuda/fused_kernels.h"

#include <algorithm>

#include "kernels/cuda/device.cuh"

namespace taesr::cuda {
namespace {

constexpr int kWarpsPerBlock = 8;
constexpr int kBackwardBlocks = 528;  // four for each of an H100's 132 multiprocessors
constexpr int kVector = 4;            // values of one 8-byte access

/// A warp a row; each lane holds `Parts` times four values.
template <class Half, int Parts>
__global__ void add_norm_forward_kernel(AddNormForward call) {
  const int lane = threadIdx.x % kWarp;
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kWarpsPerBlock;
  const float scale = 1.0f / call.width;
  for (std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kWarpsPerBlock + threadIdx.x / kWarp;
       row < call.rows; row += step) {
    const std::int64_t base = row * call.width + lane * kVector;
    float sum[Parts][kVector];
    float total = 0;
#pragma unroll
    for (int p = 0; p < Parts; ++p) {
      const int at = p * kWarp * kVector;
      float x[kVector], bias[kVector];
      load(static_cast<const Half*>(call.residual) + base + at, sum[p]);
      load(static_cast<const Half*>(call.x) + base + at, x);
      load(call.bias + lane * kVector + at, bias);
#pragma unroll
      for (int i = 0; i < kVector; ++i) {
        // Rounded before it is normalised: the backward pass reads the rounded sum.
        sum[p][i] = static_cast<float>(static_cast<Half>(sum[p][i] + x[i] + bias[i]));
        total += sum[p][i];
      }
      store(static_cast<Half*>(call.sum) + base + at, sum[p]);
    }
    const float mean = warp_sum(total) * scale;
    float square = 0;
#pragma unroll
    for (int p = 0; p < Parts; ++p) {
#pragma unroll
      for (int i = 0; i < kVector; ++i) square += (sum[p][i] - mean) * (sum[p][i] - mean);
    }
    const float rstd = rsqrtf(warp_sum(square) * scale + call.eps);
#pragma unroll
    for (int p = 0; p < Parts; ++p) {
      const int at = p * kWarp * kVector;
      float gain[kVector], shift[kVector];
      load(call.gain + lane * kVector + at, gain);
      load(call.shift + lane * kVector + at, shift);
#pragma unroll
      for (int i = 0; i < kVector; ++i) sum[p][i] = (sum[p][i] - mean) * rstd * gain[i] + shift[i];
      store(static_cast<Half*>(call.out) + base + at, sum[p]);
    }
    if (lane == 0) {
      call.mean[row] = mean;
      call.rstd[row] = rstd;
    }
  }
}

/// Adds the warps' column sums of one vector and writes the block's share of it.
template <int Parts>
__device__ void reduce_block(const float (&columns)[Parts][kVector], float* shared, float* target, int width) {
  const int lane = threadIdx.x % kWarp;
  const int warp = threadIdx.x / kWarp;
#pragma unroll
  for (int p = 0; p < Parts; ++p) {
#pragma unroll
    for (int i = 0; i < kVector; ++i) shared[warp * width + (p * kWarp + lane) * kVector + i] = columns[p][i];
  }
  __syncthreads();
  for (int column = threadIdx.x; column < width; column += blockDim.x) {
    float total = 0;
#pragma unroll
    for (int w = 0; w < kWarpsPerBlock; ++w) total += shared[w * width + column];
    target[column] = total;
  }
  __syncthreads();
}

template <class Half, int Parts>
__global__ void add_norm_backward_kernel(AddNormBackward call) {
  extern __shared__ float shared[];  // [warps, width]
  const int lane = threadIdx.x % kWarp;
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kWarpsPerBlock;
  const float scale = 1.0f / call.width;
  float gain[Parts][kVector];
  float grad_gain[Parts][kVector] = {};
  float grad_shift[Parts][kVector] = {};
  float grad_bias[Parts][kVector] = {};
#pragma unroll
  for (int p = 0; p < Parts; ++p) load(call.gain + (p * kWarp + lane) * kVector, gain[p]);

  for (std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * kWarpsPerBlock + threadIdx.x / kWarp;
       row < call.rows; row += step) {
    const std::int64_t base = row * call.width + lane * kVector;
    const float mean = call.mean[row];
    const float rstd = call.rstd[row];
    float grad[Parts][kVector], normal[Parts][kVector];
    float sum_grad = 0, sum_product = 0;
#pragma unroll
    for (int p = 0; p < Parts; ++p) {
      const int at = p * kWarp * kVector;
      load(static_cast<const Half*>(call.grad_out) + base + at, grad[p]);
      load(static_cast<const Half*>(call.sum) + base + at, normal[p]);
#pragma unroll
      for (int i = 0; i < kVector; ++i) {
        normal[p][i] = (normal[p][i] - mean) * rstd;
        grad_gain[p][i] += grad[p][i] * normal[p][i];
        grad_shift[p][i] += grad[p][i];
        grad[p][i] *= gain[p][i];
        sum_grad += grad[p][i];
        sum_product += grad[p][i] * normal[p][i];
      }
    }
    const float mean_grad = warp_sum(sum_grad) * scale;
    const float mean_product = warp_sum(sum_product) * scale;
#pragma unroll
    for (int p = 0; p < Parts; ++p) {
#pragma unroll
      for (int i = 0; i < kVector; ++i) {
        grad[p][i] = rstd * (grad[p][i] - mean_grad - normal[p][i] * mean_product);
        grad_bias[p][i] += grad[p][i];
      }
      store(static_cast<Half*>(call.grad_sum) + base + p * kWarp * kVector, grad[p]);
    }
  }
  float* target = call.partial + static_cast<std::int64_t>(blockIdx.x) * 3 * call.width;
  reduce_block<Parts>(grad_gain, shared, target, call.width);
  reduce_block<Parts>(grad_shift, shared, target + call.width, call.width);
  reduce_block<Parts>(grad_bias, shared, target + 2 * call.width, call.width);
}

__device__ float gelu(float x) { return 0.5f * x * (1.0f + erff(x * 0.70710678f)); }

__device__ float gelu_slope(float x) {
  const float density = 0.39894228f * __expf(-0.5f * x * x);
  return 0.5f * (1.0f + erff(x * 0.70710678f)) + x * density;
}

/// A thread owns four columns and walks down the rows of its block.
template <class Half>
__global__ void bias_gelu_forward_kernel(const Half* x, const float* bias, Half* out, std::int64_t rows, int width) {
  const int column = threadIdx.x * kVector;
  float offset[kVector];
  load(bias + column, offset);
  for (std::int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    float values[kVector];
    load(x + row * width + column, values);
#pragma unroll
    for (int i = 0; i < kVector; ++i) values[i] = gelu(values[i] + offset[i]);
    store(out + row * width + column, values);
  }
}

template <class Half>
__global__ void bias_gelu_backward_kernel(BiasGeluBackward call) {
  const int column = threadIdx.x * kVector;
  float offset[kVector];
  float grad_bias[kVector] = {};
  load(call.bias + column, offset);
  for (std::int64_t row = blockIdx.x; row < call.rows; row += gridDim.x) {
    float grad[kVector], values[kVector];
    load(static_cast<const Half*>(call.grad_out) + row * call.width + column, grad);
    load(static_cast<const Half*>(call.x) + row * call.width + column, values);
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      grad[i] *= gelu_slope(values[i] + offset[i]);
      grad_bias[i] += grad[i];
    }
    store(static_cast<Half*>(call.grad_x) + row * call.width + column, grad);
  }
  float* target = call.partial + static_cast<std::int64_t>(blockIdx.x) * call.width + column;
#pragma unroll
  for (int i = 0; i < kVector; ++i) target[i] = grad_bias[i];
}

template <class Half, int Parts>
void launch(const AddNormForward& call, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>(std::min<std::int64_t>((call.rows + kWarpsPerBlock - 1) / kWarpsPerBlock, 132 * 16));
  add_norm_forward_kernel<Half, Parts><<<blocks, kWarp * kWarpsPerBlock, 0, stream>>>(call);
}

template <class Half, int Parts>
void launch(const AddNormBackward& call, cudaStream_t stream) {
  const std::size_t shared = sizeof(float) * kWarpsPerBlock * static_cast<std::size_t>(call.width);
  add_norm_backward_kernel<Half, Parts>
      <<<static_cast<unsigned>(backward_blocks(call.rows)), kWarp * kWarpsPerBlock, shared, stream>>>(call);
}

/// Picks the instance of the call's width; the caller has checked that there is one.
template <class Half, class Call>
void launch_width(const Call& call, cudaStream_t stream) {
  switch (call.width / kNormWidthStep) {
    case 1: return launch<Half, 1>(call, stream);
    case 2: return launch<Half, 2>(call, stream);
    case 3: return launch<Half, 3>(call, stream);
    case 4: return launch<Half, 4>(call, stream);
    case 5: return launch<Half, 5>(call, stream);
    case 6: return launch<Half, 6>(call, stream);
    case 7: return launch<Half, 7>(call, stream);
    case 8: return launch<Half, 8>(call, stream);
    default: return;
  }
}

template <class Call>
void launch_type(const Call& call, HalfType type, cudaStream_t stream) {
  if (type == HalfType::kFloat16) return launch_width<__half>(call, stream);
  launch_width<__nv_bfloat16>(call, stream);
}

}  // namespace

int backward_blocks(std::int64_t rows) {
  return static_cast<int>(std::clamp<std::int64_t>((rows + kWarpsPerBlock - 1) / kWarpsPerBlock, 1, kBackwardBlocks));
}

void add_norm_forward(const AddNormForward& call, HalfType type, cudaStream_t stream) {
  launch_type(call, type, stream);
}

void add_norm_backward(const AddNormBackward& call, HalfType type, cudaStream_t stream) {
  launch_type(call, type, stream);
}

void bias_gelu_forward(const void* x, const float* bias, void* out, std::int64_t rows, int width, HalfType type,
                       cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>(std::min<std::int64_t>(rows, 132 * 16));
  const auto threads = static_cast<unsigned>(width / kVector);
  if (type == HalfType::kFloat16) {
    bias_gelu_forward_kernel<<<blocks, threads, 0, stream>>>(static_cast<const __half*>(x), bias,
                                                             static_cast<__half*>(out), rows, width);
  } else {
    bias_gelu_forward_kernel<<<blocks, threads, 0, stream>>>(static_cast<const __nv_bfloat16*>(x), bias,
                                                             static_cast<__nv_bfloat16*>(out), rows, width);
  }
}

void bias_gelu_backward(const BiasGeluBackward& call, HalfType type, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>(backward_blocks(call.rows));
  const auto threads = static_cast<unsigned>(call.width / kVector);
  if (type == HalfType::kFloat16) {
    bias_gelu_backward_kernel<__half><<<blocks, threads, 0, stream>>>(call);
  } else {
    bias_gelu_backward_kernel<__nv_bfloat16><<<blocks, threads, 0, stream>>>(call);
  }
}

}  // namespace taesr::cuda
