#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

namespace taesr::cuda {

// What the device code of all kernels shares. No LibTorch header: nvcc takes minutes over them.

inline constexpr int kWarp = 32;
inline constexpr unsigned kAllLanes = 0xffffffffu;
inline constexpr int kAccess = 16;  // bytes of the widest access

inline void check(cudaError_t status, const char* what) {
  if (status != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(status));
}

/// Starts a kernel; throws if it could not be started.
template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block, cudaStream_t stream,
            const Arguments&... arguments) {
  kernel<<<grid, block, 0, stream>>>(arguments...);
  check(cudaGetLastError(), name);
}

inline unsigned blocks_for(std::int64_t items, std::int64_t items_per_block) {
  return static_cast<unsigned>((items + items_per_block - 1) / items_per_block);
}

/// Neighbouring values that are loaded and stored at once.
template <class T, int kCount>
struct alignas(sizeof(T) * kCount) Pack {
  T values[kCount];
};

template <class T, int kCount>
__device__ void load(const T* source, float (&values)[kCount]) {
  const auto packed = *reinterpret_cast<const Pack<T, kCount>*>(source);
#pragma unroll
  for (int i = 0; i < kCount; ++i) values[i] = static_cast<float>(packed.values[i]);
}

template <class T, int kCount>
__device__ void store(T* target, const float (&values)[kCount]) {
  Pack<T, kCount> packed;
#pragma unroll
  for (int i = 0; i < kCount; ++i) packed.values[i] = static_cast<T>(values[i]);
  *reinterpret_cast<Pack<T, kCount>*>(target) = packed;
}

__device__ inline float warp_sum(float value) {
#pragma unroll
  for (int step = kWarp / 2; step > 0; step /= 2) value += __shfl_xor_sync(kAllLanes, value, step);
  return value;
}

}  // namespace taesr::cuda
