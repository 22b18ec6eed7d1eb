#pragma once

#include "kernels/cuda/decode_kernels.h"
#include "kernels/cuda/device.cuh"

namespace taesr::cuda {

/// Where one head's keys [kDecodePage, head_size] of a page begin; its values follow.
template <class T>
__device__ T* page_of(const PagedKeys& call, const DecodeRow& row, int page, int kv_head) {
  const std::int64_t block = static_cast<std::int64_t>(call.slot + row.slot) * call.kv_heads + kv_head;
  return reinterpret_cast<T*>(call.addresses[row.list + page]) + block * 2 * kDecodePage * call.head_size;
}

template <class T>
__device__ const T* row_of(const PagedKeys& call, std::int64_t row) {
  return static_cast<const T*>(call.qkv) + row * (call.heads + 2 * call.kv_heads) * call.head_size;
}

/// A head's value `dim` after its pair has been turned.
template <class T>
__device__ float turned(const T* head, int dim, int half, const float* angles) {
  const int pair = dim % half;
  const float first = static_cast<float>(head[pair]);
  const float second = static_cast<float>(head[pair + half]);
  const float cosine = angles[pair];
  const float sine = angles[pair + half];
  return dim < half ? first * cosine - second * sine : second * cosine + first * sine;
}

}  // namespace taesr::cuda
