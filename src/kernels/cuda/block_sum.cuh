#pragma once

#include "kernels/cuda/device.cuh"

namespace taesr::cuda {

inline constexpr int kMostThreads = 256;  // of a block that sums

/// Sum of all threads' values, for all of them. Whole warps, at most kMostThreads; all threads of the block call it.
__device__ inline float block_sum(float value) {
  __shared__ float sums[kMostThreads / kWarp];
  value = warp_sum(value);
  __syncthreads();  // the sums of the call before have been read
  if (threadIdx.x % kWarp == 0) sums[threadIdx.x / kWarp] = value;
  __syncthreads();
  float total = 0;
  for (unsigned i = 0; i < blockDim.x / kWarp; ++i) total += sums[i];
  return total;
}

}  // namespace taesr::cuda
