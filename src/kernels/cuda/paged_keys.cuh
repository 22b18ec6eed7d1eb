#pragma once

#include "kernels/cuda/decode_kernels.h"
#include "kernels/cuda/device.cuh"

namespace taesr::cuda {

/// Where one head's keys [kDecodePage, head_size] of the page at `address` begin; its values [head_size, kDecodePage]
/// follow.
template <class T>
__device__ T* page_of(const PagedKeys& call, const DecodeRow& row, std::int64_t address, int kv_head) {
  const std::int64_t block = static_cast<std::int64_t>(call.slot + row.slot) * call.kv_heads + kv_head;
  return reinterpret_cast<T*>(address) + block * 2 * kDecodePage * call.head_size;
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

/// What makes a product of query and key the exponent of 2 in the softmax.
__device__ inline float score_scale(int head_size) {
  return 1.44269504f * rsqrtf(static_cast<float>(head_size));  // exp(x) = 2^(x / ln 2)
}

struct PageRange {
  int begin;
  int end;
};

/// The pages of one of `splits` parts of what a row sees.
__device__ inline PageRange part_of(int visible, int split, int splits) {
  const int pages = (visible + kDecodePage - 1) / kDecodePage;
  const int each = (pages + splits - 1) / splits;
  return {min(pages, split * each), min(pages, (split + 1) * each)};
}

/// One value of a query's result, or of a part's.
template <class T>
__device__ void write(const PagedAttention& call, std::int64_t query, int split, int dim, float value, float largest,
                      float sum) {
  const int size = call.keys.head_size;
  if (call.splits == 1) {
    static_cast<T*>(call.out)[query * size + dim] = static_cast<T>(sum > 0 ? value / sum : 0.0f);
    return;
  }
  float* part = call.parts + (query * call.splits + split) * (size + 2);
  part[dim] = value;
  if (dim > 0) return;
  part[size] = largest;
  part[size + 1] = sum;
}

}  // namespace taesr::cuda
