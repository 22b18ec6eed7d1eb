#include "kernels/cuda/decode_kernels.h"
#include "kernels/cuda/device.cuh"

namespace taesr::cuda {
namespace {

constexpr int kThreads = 512;

/// The better of two values with their places: larger, of equal ones the first.
__device__ void keep_better(float& value, int& place, float other, int other_place) {
  if (other > value || (other == value && other_place < place)) {
    value = other;
    place = other_place;
  }
}

/// A block a row.
__global__ void best_kernel(DecodeBest call) {
  __shared__ float values[kThreads / kWarp];
  __shared__ int places[kThreads / kWarp];
  const float* row = call.logits + static_cast<std::int64_t>(blockIdx.x) * call.vocabulary;
  const int count = static_cast<int>(call.vocabulary);
  float value = -INFINITY;
  int place = count;
  bool finite = true;
#pragma unroll 8
  for (int i = threadIdx.x; i < count; i += kThreads) {
    const float x = row[i];
    finite = finite && isfinite(x);
    keep_better(value, place, x, i);
  }
  for (int step = kWarp / 2; step > 0; step /= 2) {
    const float other = __shfl_xor_sync(kAllLanes, value, step);
    const int other_place = __shfl_xor_sync(kAllLanes, place, step);
    keep_better(value, place, other, other_place);
  }
  if (threadIdx.x % kWarp == 0) {
    values[threadIdx.x / kWarp] = value;
    places[threadIdx.x / kWarp] = place;
  }
  finite = __syncthreads_and(finite) != 0;
  if (threadIdx.x != 0) return;
  for (int i = 1; i < kThreads / kWarp; ++i) keep_better(value, place, values[i], places[i]);
  call.best[blockIdx.x] = finite ? place : -1;
}

}  // namespace

void decode_best(const DecodeBest& call, cudaStream_t stream) {
  if (call.count == 0) return;
  launch("decode_best", best_kernel, static_cast<unsigned>(call.count), kThreads, stream, call);
}

}  // namespace taesr::cuda
