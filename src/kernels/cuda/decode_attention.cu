#include "kernels/cuda/decode_kernels.h"
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/exp2.cuh"
#include "kernels/cuda/paged_keys.cuh"

namespace taesr::cuda {
namespace {

constexpr int kMostHead = 256;
constexpr int kParts = kMostHead / kWarp;

/// What a warp knows of a query: the largest score so far, and with weights 2^(score - largest) each lane's part of
/// their sum and its dimensions of the values' (Milakov and Gimelshein 2018, arXiv 1805.02867).
struct Softmax {
  float largest = -INFINITY;
  float sum = 0;
  float out[kParts] = {};

  /// The weight of each lane's score.
  __device__ float weigh(float score) {
    float most = score;
#pragma unroll
    for (int step = 1; step < kDecodePage; step *= 2) most = fmaxf(most, __shfl_xor_sync(kAllLanes, most, step));
    if (most > largest) {
      const float shrink = fast_exp2(largest - most);
      sum *= shrink;
#pragma unroll
      for (int p = 0; p < kParts; ++p) out[p] *= shrink;
      largest = most;
    }
    const float weight = fast_exp2(score - largest);
    sum += weight;
    return weight;
  }
};

/// For every type and head: a warp takes a query and a part of what it sees, page after page. Two lanes compute an
/// entry's score, each with half of the head.
template <class T>
__global__ void attend_kernel(PagedAttention call) {
  __shared__ float query[kMostHead];
  const PagedKeys& keys = call.keys;
  const DecodeRow row = keys.rows[blockIdx.x];
  const int size = keys.head_size;
  const int head = static_cast<int>(blockIdx.y);
  const int lane = static_cast<int>(threadIdx.x);
  const T* from = row_of<T>(keys, blockIdx.x) + head * size;
  const float* angles = keys.angles + static_cast<std::int64_t>(row.position) * size;
  for (int i = lane; i < size; i += kWarp) query[i] = score_scale(size) * turned(from, i, size / 2, angles);
  __syncwarp();
  Softmax softmax;
  const PageRange pages = part_of(row.visible, static_cast<int>(blockIdx.z), call.splits);
  const int entry = lane % kDecodePage;
  const int first = lane / kDecodePage * (size / 2);
  for (int p = pages.begin; p < pages.end; ++p) {
    const T* page = page_of<const T>(keys, row, keys.addresses[row.list + p], head / (keys.heads / keys.kv_heads));
    const int count = min(kDecodePage, row.visible - p * kDecodePage);
    float score = 0;
    for (int i = first; i < first + size / 2; ++i) score += query[i] * static_cast<float>(page[entry * size + i]);
    score += __shfl_xor_sync(kAllLanes, score, kDecodePage);
    const float weight = softmax.weigh(entry < count ? score : -INFINITY);
    for (int e = 0; e < count; ++e) {
      const float own = __shfl_sync(kAllLanes, weight, e);
#pragma unroll
      for (int part = 0; part < kParts; ++part) {
        const int dim = part * kWarp + lane;
        if (dim < size) softmax.out[part] += own * static_cast<float>(page[(size + dim) * kDecodePage + e]);
      }
    }
  }
  const float sum = warp_sum(softmax.sum) / 2;  // two lanes have each weight
#pragma unroll
  for (int part = 0; part < kParts; ++part) {
    const int dim = part * kWarp + lane;
    const std::int64_t place = static_cast<std::int64_t>(blockIdx.x) * keys.heads + head;
    if (dim < size) write<T>(call, place, static_cast<int>(blockIdx.z), dim, softmax.out[part], softmax.largest, sum);
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

template <class T>
void launch_any(const PagedAttention& call, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(call.keys.count), static_cast<unsigned>(call.keys.heads),
                  static_cast<unsigned>(call.splits));
  launch("decode_attend", attend_kernel<T>, grid, kWarp, stream, call);
}

template <class T>
void launch_join(const PagedAttention& call, cudaStream_t stream) {
  if (call.splits == 1) return;
  const auto queries = static_cast<unsigned>(call.keys.count * call.keys.heads);
  launch("decode_attend", join_kernel<T>, queries, static_cast<unsigned>(call.keys.head_size), stream, call);
}

}  // namespace

void decode_attend(const PagedAttention& call, Element element, cudaStream_t stream) {
  if (call.keys.count == 0) return;
  if (call.keys.head_size > kMostHead) throw std::invalid_argument("the attention takes heads of at most 256");
  if (element == Element::kFloat32) {
    launch_any<float>(call, stream);
    return launch_join<float>(call, stream);
  }
  if (!attend_by_tiles(call, stream)) launch_any<__nv_bfloat16>(call, stream);
  launch_join<__nv_bfloat16>(call, stream);
}

}  // namespace taesr::cuda
