#include <cmath>

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/head_kernels.h"

namespace taesr::cuda {
namespace {

constexpr int kThreads = 128;

/// A thread follows `kCount` neighbouring pieces down the tokens of one text.
template <class T, int kCount>
__global__ void sparse_max_kernel(SparseMax call) {
  const std::int64_t piece = (static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kCount;
  if (piece >= call.pieces) return;
  const std::int64_t text = blockIdx.y;
  const std::int64_t begin = call.offsets[text];
  const std::int64_t end = call.offsets[text + 1];
  const T* logits = static_cast<const T*>(call.logits) + (begin - call.first_token) * call.pieces + piece;
  float largest[kCount];
  std::int32_t from[kCount];
#pragma unroll
  for (int i = 0; i < kCount; ++i) largest[i] = -INFINITY, from[i] = static_cast<std::int32_t>(begin);
#pragma unroll 4
  for (std::int64_t token = begin; token < end; ++token) {
    float values[kCount];
    load(logits + (token - begin) * call.pieces, values);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      if (values[i] > largest[i]) largest[i] = values[i], from[i] = static_cast<std::int32_t>(token);
    }
  }
  const std::int64_t place = text * call.stride + piece;
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    // The bias is the same for all tokens of a text, so it is added to their maximum.
    call.weights[place + i] = log1pf(fmaxf(largest[i] + call.bias[piece + i], 0.0f));
    if (call.tokens != nullptr) call.tokens[place + i] = from[i];
  }
}

template <class T>
void launch_element(const SparseMax& call, cudaStream_t stream) {
  constexpr int kWide = kAccess / sizeof(T);
  const auto texts = static_cast<unsigned>(call.texts);
  if (call.pieces % kWide == 0) {
    const dim3 grid(blocks_for(call.pieces, kThreads * kWide), texts);
    launch("sparse_max", sparse_max_kernel<T, kWide>, grid, kThreads, stream, call);
  } else {
    const dim3 grid(blocks_for(call.pieces, kThreads), texts);
    launch("sparse_max", sparse_max_kernel<T, 1>, grid, kThreads, stream, call);
  }
}

}  // namespace

void sparse_max(const SparseMax& call, Element element, cudaStream_t stream) {
  if (call.texts == 0 || call.pieces == 0) return;
  switch (element) {
    case Element::kFloat32: return launch_element<float>(call, stream);
    case Element::kFloat16: return launch_element<__half>(call, stream);
    case Element::kBFloat16: return launch_element<__nv_bfloat16>(call, stream);
  }
}

}  // namespace taesr::cuda
