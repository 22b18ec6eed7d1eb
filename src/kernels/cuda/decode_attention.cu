#include <algorithm>

#include "kernels/cuda/decode_kernels.h"
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/paged_keys.cuh"

namespace taesr::cuda {
namespace {

constexpr int kWarps = 4;  // of a block of the attention
constexpr int kThreads = kWarps * kWarp;
constexpr int kDims = 8;   // values of a head that a lane holds
constexpr int kMostHead = 256;

/// 2^x; below 2^-126 it is 0.
__device__ inline float fast_exp2(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

/// What some lanes know of one query: the largest score so far, and sums of weights 2^(score - largest) and of values
/// weighted so (Milakov and Gimelshein 2018, arXiv 1805.02867).
template <int kSize>
struct Softmax {
  float largest = -INFINITY;
  float sum = 0;
  float out[kSize] = {};

  /// Makes room for a score; returns the largest, 0 where there is none yet: no score is above it.
  __device__ float raise(float score) {
    const float next = fmaxf(largest, score);
    if (next > largest) {
      const float shrink = fast_exp2(largest - next);
      sum *= shrink;
#pragma unroll
      for (int i = 0; i < kSize; ++i) out[i] *= shrink;
      largest = next;
    }
    return largest == -INFINITY ? 0.0f : largest;
  }

  /// Adds what the lane `step` further knows of the same values.
  __device__ void merge_lane(int step) {
    const float other = __shfl_xor_sync(kAllLanes, largest, step);
    const float base = fmaxf(largest, other);
    const float shrink = base == -INFINITY ? 0.0f : fast_exp2(largest - base);
    largest = base;
    sum *= shrink;
    sum += __shfl_xor_sync(kAllLanes, sum, step);
#pragma unroll
    for (int i = 0; i < kSize; ++i) {
      out[i] *= shrink;
      out[i] += __shfl_xor_sync(kAllLanes, out[i], step);
    }
  }
};

/// The queries of one row that share a head of keys, turned; scores in powers of 2.
template <class T, int kHead, int kGroup>
__device__ void load_queries(float (&queries)[kGroup][kDims], const PagedKeys& call, const DecodeRow& row,
                             const T* query, int first) {
  constexpr int kHalf = kHead / 2;
  const float scale = 1.44269504f * rsqrtf(static_cast<float>(kHead));  // exp(x) = 2^(x / ln 2)
  const float* angles = call.angles + static_cast<std::int64_t>(row.position) * kHead + first % kHalf;
  const float sign = first < kHalf ? -1.0f : 1.0f;
  float cosines[kDims], sines[kDims];
#pragma unroll
  for (int i = 0; i < kDims; ++i) {
    cosines[i] = scale * angles[i];
    sines[i] = scale * sign * angles[kHalf + i];
  }
#pragma unroll
  for (int g = 0; g < kGroup; ++g) {
    float other[kDims];
    load(query + g * kHead + first, queries[g]);
    load(query + g * kHead + (first + kHalf) % kHead, other);
#pragma unroll
    for (int i = 0; i < kDims; ++i) queries[g][i] = queries[g][i] * cosines[i] + other[i] * sines[i];
  }
}

/// A warp takes in one page of `count` entries. Lanes of an entry lie side by side, each with kDims of its values.
template <class T, int kHead, int kGroup>
__device__ void absorb_page(Softmax<kDims> (&softmax)[kGroup], const float (&queries)[kGroup][kDims], const T* page,
                            int count) {
  constexpr int kLanes = kHead / kDims;
  constexpr int kEntries = kWarp / kLanes;        // side by side
  constexpr int kSteps = kDecodePage / kEntries;  // one after the other
  const int lane = threadIdx.x % kWarp;
  const T* from = page + lane / kLanes * kHead + lane % kLanes * kDims;
  Pack<T, kDims> keys[kSteps], values[kSteps];
#pragma unroll
  for (int s = 0; s < kSteps; ++s) {
    keys[s] = values[s] = {};
    if (s * kEntries + lane / kLanes >= count) continue;
    keys[s] = *reinterpret_cast<const Pack<T, kDims>*>(from + s * kEntries * kHead);
    values[s] = *reinterpret_cast<const Pack<T, kDims>*>(from + (kDecodePage + s * kEntries) * kHead);
  }
#pragma unroll
  for (int g = 0; g < kGroup; ++g) {
    float scores[kSteps];
    float most = -INFINITY;
#pragma unroll
    for (int s = 0; s < kSteps; ++s) {
      float score = 0;
#pragma unroll
      for (int i = 0; i < kDims; ++i) score += queries[g][i] * static_cast<float>(keys[s].values[i]);
#pragma unroll
      for (int step = 1; step < kLanes; step *= 2) score += __shfl_xor_sync(kAllLanes, score, step);
      scores[s] = s * kEntries + lane / kLanes < count ? score : -INFINITY;
      most = fmaxf(most, scores[s]);
    }
    const float base = softmax[g].raise(most);
#pragma unroll
    for (int s = 0; s < kSteps; ++s) {
      const float weight = fast_exp2(scores[s] - base);
      softmax[g].sum += weight;
#pragma unroll
      for (int i = 0; i < kDims; ++i) softmax[g].out[i] += weight * static_cast<float>(values[s].values[i]);
    }
  }
}

/// What the warps of a block know, in shared memory.
template <int kHead, int kGroup>
struct alignas(kDims * sizeof(float)) Gathered {
  float out[kWarps][kGroup][kHead];
  float largest[kWarps][kGroup];
  float sum[kWarps][kGroup];
};

/// A block takes a row, up to kGroup of its queries that share a head of keys, and a part of what they see.
template <class T, int kHead, int kGroup>
__global__ void __launch_bounds__(kThreads) attend_kernel(PagedAttention call) {
  constexpr int kLanes = kHead / kDims;
  __shared__ Gathered<kHead, kGroup> gathered;
  const PagedKeys& keys = call.keys;
  const DecodeRow row = keys.rows[blockIdx.x];
  const int lane = threadIdx.x % kWarp;
  const int warp = threadIdx.x / kWarp;
  const int head = static_cast<int>(blockIdx.y) * kGroup;  // the first of them
  const int kv_head = head / (keys.heads / keys.kv_heads);
  const int pages = (row.visible + kDecodePage - 1) / kDecodePage;
  const int part = (pages + call.splits - 1) / call.splits;
  const int begin = static_cast<int>(blockIdx.z) * part;
  const int end = min(pages, begin + part);
  Softmax<kDims> softmax[kGroup];
  if (begin + warp < end) {
    float queries[kGroup][kDims];
    load_queries<T, kHead, kGroup>(queries, keys, row, row_of<T>(keys, blockIdx.x) + head * kHead,
                                   lane % kLanes * kDims);
    for (int page = begin + warp; page < end; page += kWarps) {
      absorb_page<T, kHead, kGroup>(softmax, queries, page_of<const T>(keys, row, page, kv_head),
                                    min(kDecodePage, row.visible - page * kDecodePage));
    }
  }
#pragma unroll
  for (int g = 0; g < kGroup; ++g) {
#pragma unroll
    for (int step = kLanes; step < kWarp; step *= 2) softmax[g].merge_lane(step);
    if (lane < kLanes) store(&gathered.out[warp][g][lane * kDims], softmax[g].out);
    if (lane == 0) {
      gathered.largest[warp][g] = softmax[g].largest;
      gathered.sum[warp][g] = softmax[g].sum;
    }
  }
  __syncthreads();
  for (int i = threadIdx.x; i < kGroup * kHead; i += kThreads) {
    const int g = i / kHead;
    float largest = -INFINITY;
    for (int w = 0; w < kWarps; ++w) largest = fmaxf(largest, gathered.largest[w][g]);
    float sum = 0;
    float out = 0;
    for (int w = 0; w < kWarps && largest > -INFINITY; ++w) {
      const float weight = fast_exp2(gathered.largest[w][g] - largest);
      sum += weight * gathered.sum[w][g];
      out += weight * gathered.out[w][g][i % kHead];
    }
    const std::int64_t query = static_cast<std::int64_t>(blockIdx.x) * keys.heads + head + g;
    if (call.splits == 1) {
      static_cast<T*>(call.out)[query * kHead + i % kHead] = static_cast<T>(sum > 0 ? out / sum : 0.0f);
      continue;
    }
    float* to = call.parts + (query * call.splits + blockIdx.z) * (kHead + 2);
    to[i % kHead] = out;
    if (i % kHead == 0) {
      to[kHead] = largest;
      to[kHead + 1] = sum;
    }
  }
}

/// The parts of a query become its result; a block a query.
template <class T>
__global__ void join_kernel(PagedAttention call) {
  const int size = call.keys.head_size;
  const float* parts = call.parts + static_cast<std::int64_t>(blockIdx.x) * call.splits * (size + 2);
  float largest = -INFINITY;
  for (int s = 0; s < call.splits; ++s) largest = fmaxf(largest, parts[s * (size + 2) + size]);
  float sum = 0;
  float out = 0;
  for (int s = 0; s < call.splits && largest > -INFINITY; ++s) {
    const float* part = parts + s * (size + 2);
    const float weight = fast_exp2(part[size] - largest);
    sum += weight * part[size + 1];
    out += weight * part[threadIdx.x];
  }
  static_cast<T*>(call.out)[static_cast<std::int64_t>(blockIdx.x) * size + threadIdx.x] =
      static_cast<T>(sum > 0 ? out / sum : 0.0f);
}

/// Heads of other sizes: a warp a query, one entry after the other.
template <class T>
__global__ void attend_any_kernel(PagedAttention call) {
  constexpr int kParts = kMostHead / kWarp;
  const PagedKeys& keys = call.keys;
  const DecodeRow row = keys.rows[blockIdx.x];
  const int size = keys.head_size;
  const int head = static_cast<int>(blockIdx.y);
  const T* query = row_of<T>(keys, blockIdx.x) + head * size;
  const float* angles = keys.angles + static_cast<std::int64_t>(row.position) * size;
  const float scale = 1.44269504f * rsqrtf(static_cast<float>(size));
  Softmax<kParts> softmax;
  float turned_query[kParts] = {};
#pragma unroll
  for (int p = 0; p < kParts; ++p) {
    const int dim = p * kWarp + static_cast<int>(threadIdx.x);
    if (dim < size) turned_query[p] = scale * turned(query, dim, size / 2, angles);
  }
  for (int i = 0; i < row.visible; ++i) {
    const T* key = page_of<const T>(keys, row, i / kDecodePage, head / (keys.heads / keys.kv_heads)) +
                   i % kDecodePage * size;
    float score = 0;
#pragma unroll
    for (int p = 0; p < kParts; ++p) {
      const int dim = p * kWarp + static_cast<int>(threadIdx.x);
      if (dim < size) score += turned_query[p] * static_cast<float>(key[dim]);
    }
    score = warp_sum(score);
    const float weight = fast_exp2(score - softmax.raise(score));
    softmax.sum += weight;
#pragma unroll
    for (int p = 0; p < kParts; ++p) {
      const int dim = p * kWarp + static_cast<int>(threadIdx.x);
      if (dim < size) softmax.out[p] += weight * static_cast<float>(key[kDecodePage * size + dim]);
    }
  }
  T* out = static_cast<T*>(call.out) + (static_cast<std::int64_t>(blockIdx.x) * keys.heads + head) * size;
#pragma unroll
  for (int p = 0; p < kParts; ++p) {
    const int dim = p * kWarp + static_cast<int>(threadIdx.x);
    if (dim < size) out[dim] = static_cast<T>(softmax.sum > 0 ? softmax.out[p] / softmax.sum : 0.0f);
  }
}

template <class T, int kHead, int kGroup>
void launch_attend(const PagedAttention& call, cudaStream_t stream) {
  const auto rows = static_cast<unsigned>(call.keys.count);
  const auto heads = static_cast<unsigned>(call.keys.heads);
  const dim3 grid(rows, heads / kGroup, static_cast<unsigned>(call.splits));
  launch("decode_attend", attend_kernel<T, kHead, kGroup>, grid, kThreads, stream, call);
  if (call.splits > 1) launch("decode_attend", join_kernel<T>, rows * heads, kHead, stream, call);
}

template <class T, int kHead>
void launch_group(const PagedAttention& call, cudaStream_t stream) {
  const int group = call.keys.heads / call.keys.kv_heads;
  if (group % 4 == 0) return launch_attend<T, kHead, 4>(call, stream);
  if (group % 3 == 0) return launch_attend<T, kHead, 3>(call, stream);
  if (group % 2 == 0) return launch_attend<T, kHead, 2>(call, stream);
  launch_attend<T, kHead, 1>(call, stream);
}

template <class T>
void launch_head(const PagedAttention& call, cudaStream_t stream) {
  switch (call.keys.head_size) {
    case 32: return launch_group<T, 32>(call, stream);
    case 64: return launch_group<T, 64>(call, stream);
    case 128: return launch_group<T, 128>(call, stream);
    default: break;
  }
  const dim3 grid(static_cast<unsigned>(call.keys.count), static_cast<unsigned>(call.keys.heads));
  launch("decode_attend", attend_any_kernel<T>, grid, kWarp, stream, call);
}

}  // namespace

void decode_attend(const PagedAttention& call, Element element, cudaStream_t stream) {
  if (call.keys.count == 0) return;
  if (call.keys.head_size > kMostHead) throw std::invalid_argument("the attention takes heads of at most 256");
  if (element == Element::kFloat32) return launch_head<float>(call, stream);
  launch_head<__nv_bfloat16>(call, stream);
}

}  // namespace taesr::cuda
