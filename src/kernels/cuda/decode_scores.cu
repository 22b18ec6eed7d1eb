#include "kernels/cuda/decode_kernels.h"
#include "kernels/cuda/device.cuh"

namespace taesr::cuda {
namespace {

constexpr int kThreads = 512;
constexpr int kRoom = 2048;  // for values among which the largest are

/// A number for each value with its place, larger for larger values, of equal ones for the first.
__device__ std::uint64_t key_of(float value, int place) {
  const unsigned bits = __float_as_uint(value + 0.0f);  // -0 is 0
  const unsigned ordered = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
  return static_cast<std::uint64_t>(ordered) << 32 | (0xffffffffu - static_cast<unsigned>(place));
}

__device__ int place_of(std::uint64_t key) { return static_cast<int>(0xffffffffu - static_cast<unsigned>(key)); }

/// Sorts `size` keys, a power of two, largest first (Batcher 1968); all threads of the block call it.
__device__ void sort(std::uint64_t* keys, int size) {
  for (int run = 2; run <= size; run *= 2) {
    for (int step = run / 2; step > 0; step /= 2) {
      for (int i = threadIdx.x; i < size; i += kThreads) {
        const int other = i ^ step;
        if (other <= i || (keys[i] < keys[other]) != ((i & run) == 0)) continue;
        const std::uint64_t kept = keys[i];
        keys[i] = keys[other];
        keys[other] = kept;
      }
      __syncthreads();
    }
  }
}

/// A block a row. The `top`-th best of what threads have as their largest is a bound: at least `top` values reach it,
/// seldom many more, and the largest are among them.
__global__ void top_kernel(DecodeTop call) {
  __shared__ std::uint64_t keys[kRoom];
  __shared__ int found;
  const float* row = call.logits + static_cast<std::int64_t>(blockIdx.x) * call.vocabulary;
  std::int32_t* tokens = call.tokens + static_cast<std::int64_t>(blockIdx.x) * call.top;
  const int count = static_cast<int>(call.vocabulary);
  std::uint64_t largest = 0;
  bool finite = true;
#pragma unroll 8
  for (int i = threadIdx.x; i < count; i += kThreads) {
    const float x = row[i];
    finite = finite && isfinite(x);
    const std::uint64_t key = key_of(x, i);
    largest = key > largest ? key : largest;
  }
  keys[threadIdx.x] = largest;
  if (threadIdx.x == 0) found = 0;
  if (__syncthreads_and(finite) == 0) {
    if (threadIdx.x == 0) tokens[0] = -1;
    return;
  }
  sort(keys, kThreads);
  const std::uint64_t least = keys[call.top - 1];
  __syncthreads();
#pragma unroll 8
  for (int i = threadIdx.x; i < count; i += kThreads) {
    const std::uint64_t key = key_of(row[i], i);
    if (key < least) continue;
    const int at = atomicAdd(&found, 1);
    if (at < kRoom) keys[at] = key;
  }
  __syncthreads();
  if (found > kRoom) {
    if (threadIdx.x == 0) tokens[0] = kTopCrowded;
    return;
  }
  int size = 1;
  while (size < found) size *= 2;
  for (int i = found + static_cast<int>(threadIdx.x); i < size; i += kThreads) keys[i] = 0;
  __syncthreads();
  sort(keys, size);
  for (int i = threadIdx.x; i < call.top; i += kThreads) {
    tokens[i] = place_of(keys[i]);
    call.scores[static_cast<std::int64_t>(blockIdx.x) * call.top + i] = row[tokens[i]];
  }
}

}  // namespace

void decode_top(const DecodeTop& call, cudaStream_t stream) {
  if (call.count == 0) return;
  launch("decode_top", top_kernel, static_cast<unsigned>(call.count), kThreads, stream, call);
}

}  // namespace taesr::cuda
