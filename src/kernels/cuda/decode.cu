#include <algorithm>

#include "kernels/cuda/block_sum.cuh"
#include "kernels/cuda/decode_kernels.h"
#include "kernels/cuda/device.cuh"

namespace taesr::cuda {
namespace {

constexpr int kVector = 4;

/// Threads for a row whose values they take four at a time: few enough that most have as much to do.
unsigned threads_for(int width) {
  const int vectors = (width + kVector - 1) / kVector;
  return static_cast<unsigned>(std::clamp((vectors + kWarp - 1) / kWarp * kWarp, kWarp, kMostThreads));
}

/// A block a row.
template <class T>
__global__ void gather_kernel(DecodeGather call) {
  const DecodeRow row = call.rows[blockIdx.x];
  float* out = call.out + static_cast<std::int64_t>(blockIdx.x) * call.width;
  const std::int64_t from = call.by_state ? row.state : row.id;
  const T* table = static_cast<const T*>(call.table) + from * call.width;
  for (int i = threadIdx.x; i < call.width; i += blockDim.x) {
    out[i] = row.state < 0 ? 0.0f : static_cast<float>(table[i]);
  }
}

/// A block a row. A thread reads again what itself has written.
template <class T, int kStep>
__global__ void add_rms_norm_kernel(AddRmsNorm call) {
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * call.width;
  float* x = call.x + first;
  const T* y = call.y == nullptr ? nullptr : static_cast<const T*>(call.y) + first;
  T* out = static_cast<T*>(call.out) + first;
  float square = 0;
  for (int i = threadIdx.x * kStep; i < call.width; i += blockDim.x * kStep) {
    float values[kStep];
    load(x + i, values);
    if (y != nullptr) {
      float added[kStep];
      load(y + i, added);
#pragma unroll
      for (int k = 0; k < kStep; ++k) values[k] += added[k];
      store(x + i, values);
    }
#pragma unroll
    for (int k = 0; k < kStep; ++k) square += values[k] * values[k];
  }
  const float scale = rsqrtf(block_sum(square) / static_cast<float>(call.width) + call.eps);
  for (int i = threadIdx.x * kStep; i < call.width; i += blockDim.x * kStep) {
    float values[kStep], gains[kStep];
    load(x + i, values);
    load(call.gain + i, gains);
#pragma unroll
    for (int k = 0; k < kStep; ++k) values[k] *= scale * gains[k];
    store(out + i, values);
  }
}

/// A block a part of a row.
template <class T, int kStep>
__global__ void swiglu_kernel(DecodeSwiGlu call) {
  const int i = (static_cast<int>(blockIdx.y * blockDim.x) + static_cast<int>(threadIdx.x)) * kStep;
  if (i >= call.width) return;
  const std::int64_t row = blockIdx.x;
  const T* gate_up = static_cast<const T*>(call.gate_up) + row * 2 * call.width + i;
  float gates[kStep], ups[kStep];
  load(gate_up, gates);
  load(gate_up + call.width, ups);
#pragma unroll
  for (int k = 0; k < kStep; ++k) gates[k] = gates[k] / (1.0f + expf(-gates[k])) * ups[k];
  store(static_cast<T*>(call.out) + row * call.width + i, gates);
}

template <class T>
void launch_norm(const AddRmsNorm& call, cudaStream_t stream) {
  const auto grid = static_cast<unsigned>(call.count);
  const unsigned threads = threads_for(call.width);
  if (call.width % kVector == 0) {
    return launch("add_rms_norm", add_rms_norm_kernel<T, kVector>, grid, threads, stream, call);
  }
  launch("add_rms_norm", add_rms_norm_kernel<T, 1>, grid, threads, stream, call);
}

template <class T>
void launch_swiglu(const DecodeSwiGlu& call, cudaStream_t stream) {
  const int step = call.width % kVector == 0 ? kVector : 1;
  const unsigned threads = threads_for(call.width / step * kVector);
  const dim3 grid(static_cast<unsigned>(call.count), blocks_for(call.width / step, threads));
  if (step == kVector) return launch("decode_swiglu", swiglu_kernel<T, kVector>, grid, threads, stream, call);
  launch("decode_swiglu", swiglu_kernel<T, 1>, grid, threads, stream, call);
}

}  // namespace

void decode_gather(const DecodeGather& call, Element element, cudaStream_t stream) {
  if (call.count == 0) return;
  const auto grid = static_cast<unsigned>(call.count);
  const unsigned threads = threads_for(call.width);
  if (element == Element::kFloat32) return launch("decode_gather", gather_kernel<float>, grid, threads, stream, call);
  launch("decode_gather", gather_kernel<__nv_bfloat16>, grid, threads, stream, call);
}

void add_rms_norm(const AddRmsNorm& call, Element element, cudaStream_t stream) {
  if (call.count == 0) return;
  if (element == Element::kFloat32) return launch_norm<float>(call, stream);
  launch_norm<__nv_bfloat16>(call, stream);
}

void decode_swiglu(const DecodeSwiGlu& call, Element element, cudaStream_t stream) {
  if (call.count == 0) return;
  if (element == Element::kFloat32) return launch_swiglu<float>(call, stream);
  launch_swiglu<__nv_bfloat16>(call, stream);
}

}  // namespace taesr::cuda
