#include "kernels/cuda/block_sum.cuh"
#include "kernels/cuda/decode_kernels.h"
#include "kernels/cuda/device.cuh"

namespace taesr::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kBestThreads = 512;
enum Kind { kNone, kExpertChoice, kTokenChoice };

/// A block's product of a router's weights with a row's states.
__device__ float score(const DecodeMerge& call, int router, const float* state) {
  const float* weights = call.weights + static_cast<std::int64_t>(router) * call.width;
  float sum = 0;
  for (int i = threadIdx.x; i < call.width; i += blockDim.x) sum += weights[i] * state[i];
  return block_sum(sum);
}

/// Token choice: the most probable recursion after the bias, the last of equal ones.
__device__ void choose_depth(const DecodeMerge& call, const float* state, float& chance, int& depth) {
  // Twice over the routers: their number is open, and registers are not indexed.
  float most = -INFINITY;
  for (int r = 0; r < call.recursions; ++r) most = fmaxf(most, score(call, r, state));
  float total = 0;
  for (int r = 0; r < call.recursions; ++r) total += expf(score(call, r, state) - most);
  float best = -INFINITY;
  for (int r = 0; r < call.recursions; ++r) {
    const float probability = expf(score(call, r, state) - most) / total;
    if (r > 0 && probability + call.bias[r] < best) continue;
    best = probability + call.bias[r];
    chance = probability;
    depth = r;
  }
}

/// A block a row. A thread reads again what itself has written.
template <class T>
__global__ void merge_kernel(DecodeMerge call) {
  const DecodeRow row = call.rows[blockIdx.x];
  if (row.state < 0) return;
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * call.width;
  const float* x = call.x + first;
  const T* y = call.y == nullptr ? nullptr : static_cast<const T*>(call.y) + first;
  float* state = call.states + static_cast<std::int64_t>(row.state) * call.width;
  float chance = call.chances[row.state];
  int depth = call.depths[row.state];
  const bool by_token = call.kind == kTokenChoice;
  const bool copies = row.recursion < 0 || call.kind == kNone || (by_token && depth != row.recursion);
  const float whole = by_token ? static_cast<float>(call.recursions) : 2.0f;
  const float gate = call.preserving ? fminf(1.0f, whole * chance) : call.scale * chance;
  for (int i = threadIdx.x; i < call.width; i += blockDim.x) {
    const float result = x[i] + (y == nullptr ? 0.0f : static_cast<float>(y[i]));
    const float before = copies ? 0.0f : state[i];
    state[i] = copies ? result : before + gate * (result - (call.preserving ? before : 0.0f));
  }
  if (call.kind == kNone) return;
  const int next = row.recursion + 1;
  int going = depth;
  if (by_token) {
    if (next == 0) choose_depth(call, state, chance, depth);
    going = depth;
  } else {
    if (next >= call.recursions) return;
    const float z = score(call, next, state);
    chance = 1.0f / (1.0f + expf(-z));
    going = next == 0 || z >= 0 ? 1 : 0;
  }
  __syncthreads();  // all threads have read the row's choice before
  if (threadIdx.x != 0) return;
  call.chances[row.state] = chance;
  call.depths[row.state] = depth;
  call.going[blockIdx.x] = going;
}

/// The better of two values with their places: larger, of equal ones the first.
__device__ void keep_better(float& value, int& place, float other, int other_place) {
  if (other > value || (other == value && other_place < place)) {
    value = other;
    place = other_place;
  }
}

/// A block a row.
__global__ void best_kernel(DecodeBest call) {
  __shared__ float values[kBestThreads / kWarp];
  __shared__ int places[kBestThreads / kWarp];
  const float* row = call.logits + static_cast<std::int64_t>(blockIdx.x) * call.vocabulary;
  const int count = static_cast<int>(call.vocabulary);
  float value = -INFINITY;
  int place = count;
  bool finite = true;
#pragma unroll 8
  for (int i = threadIdx.x; i < count; i += kBestThreads) {
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
  for (int i = 1; i < kBestThreads / kWarp; ++i) keep_better(value, place, values[i], places[i]);
  call.best[blockIdx.x] = finite ? place : -1;
}

}  // namespace

void decode_merge(const DecodeMerge& call, Element element, cudaStream_t stream) {
  if (call.count == 0) return;
  const auto grid = static_cast<unsigned>(call.count);
  if (element == Element::kFloat32) return launch("decode_merge", merge_kernel<float>, grid, kThreads, stream, call);
  launch("decode_merge", merge_kernel<__nv_bfloat16>, grid, kThreads, stream, call);
}

void decode_best(const DecodeBest& call, cudaStream_t stream) {
  if (call.count == 0) return;
  launch("decode_best", best_kernel, static_cast<unsigned>(call.count), kBestThreads, stream, call);
}

}  // namespace taesr::cuda
