#include "kernels/cuda/block_sum.cuh"
#include "kernels/cuda/decode_kernels.h"
#include "kernels/cuda/device.cuh"

namespace taesr::cuda {
namespace {

constexpr int kThreads = 128;
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

}  // namespace

void decode_merge(const DecodeMerge& call, Element element, cudaStream_t stream) {
  if (call.count == 0) return;
  const auto grid = static_cast<unsigned>(call.count);
  if (element == Element::kFloat32) return launch("decode_merge", merge_kernel<float>, grid, kThreads, stream, call);
  launch("decode_merge", merge_kernel<__nv_bfloat16>, grid, kThreads, stream, call);
}

}  // namespace taesr::cuda
