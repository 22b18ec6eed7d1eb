#include <cmath>

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/layer_kernels.h"
#include "kernels/cuda/mma.cuh"

namespace taesr::cuda {
namespace {

constexpr int kTileRows = 16;  // queries of a warp
constexpr int kPad = 8;        // values behind each row in shared memory: rows begin in different banks

/// Keys and values of one head, some at a time; two stages, of which one is filled while the other is read.
template <class Half, int kHead, int kKeys>
struct Stage {
  alignas(kAccess) Half keys[kKeys][kHead + kPad];
  alignas(kAccess) Half values[kKeys][kHead + kPad];
};

/// Starts to copy keys and values [first, first + kKeys) of a sequence; zeros behind its end.
template <class Half, int kHead, int kKeys>
__device__ void fill(Stage<Half, kHead, kKeys>& stage, const Half* key, const Half* value, std::int64_t stride,
                     int first, int count) {
  constexpr int kUnit = kAccess / sizeof(Half);
  constexpr int kUnits = kHead / kUnit;
  for (int i = threadIdx.x; i < kKeys * kUnits; i += blockDim.x) {
    const int row = i / kUnits;
    const int column = i % kUnits * kUnit;
    const bool exists = first + row < count;
    const std::int64_t from = exists ? (first + row) * stride + column : 0;
    copy_async(&stage.keys[row][column], key + from, exists);
    copy_async(&stage.values[row][column], value + from, exists);
  }
}

/// The queries of a warp as fragments A, straight from memory; zeros behind the last.
template <class Half, int kHead>
__device__ void load_queries(unsigned (&fragments)[kHead / 16][4], const Half* query, std::int64_t stride, int rows) {
  const int row = threadIdx.x % kWarp / 4;
  const int pair = threadIdx.x % 4 * 2;
#pragma unroll
  for (int step = 0; step < kHead / 16; ++step) {
#pragma unroll
    for (int part = 0; part < 4; ++part) {
      const int r = row + part % 2 * 8;
      const int column = step * 16 + pair + part / 2 * 8;
      fragments[step][part] = r < rows ? *reinterpret_cast<const unsigned*>(query + r * stride + column) : 0u;
    }
  }
}

/// What a lane knows of its two rows, lane / 4 and eight further (Milakov and Gimelshein 2018, arXiv 1805.02867).
template <int kHead>
struct Softmax {
  float largest[2] = {-INFINITY, -INFINITY};
  float sum[2] = {0, 0};  // of this lane's columns
  float out[kHead / 8][4] = {};
};

/// 2^x by the special function unit alone; below 2^-126 it is 0.
__device__ inline float fast_exp2(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

/// Products of a warp's queries with the keys of a stage, -inf behind the last key.
template <class Half, int kHead, int kKeys>
__device__ void score(float (&scores)[kKeys / 8][4], const Stage<Half, kHead, kKeys>& stage,
                      const unsigned (&queries)[kHead / 16][4], int keys) {
  const int lane = threadIdx.x % kWarp;
#pragma unroll
  for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) scores[n][i] = 0;
#pragma unroll
    for (int k = 0; k < kHead / 32; ++k) {
      unsigned parts[4];
      load_matrices(parts, &stage.keys[n * 8 + lane % 8][k * 32 + lane / 8 * 8]);
      multiply_add(Half(), scores[n], queries[2 * k], parts[0], parts[1]);
      multiply_add(Half(), scores[n], queries[2 * k + 1], parts[2], parts[3]);
    }
  }
  if (keys >= kKeys) return;
#pragma unroll
  for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (n * 8 + lane % 4 * 2 + i % 2 >= keys) scores[n][i] = -INFINITY;
    }
  }
}

/// Goes on to the next keys: scores become probabilities up to a factor, 2^(scale * score), and their values are
/// added.
template <class Half, int kHead, int kKeys>
__device__ void absorb(Softmax<kHead>& softmax, float (&scores)[kKeys / 8][4], const Stage<Half, kHead, kKeys>& stage,
                       float scale) {
  const int lane = threadIdx.x % kWarp;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float largest = softmax.largest[half];
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n) largest = fmaxf(largest, fmaxf(scores[n][2 * half], scores[n][2 * half + 1]));
    largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, 1));
    largest = fmaxf(largest, __shfl_xor_sync(kAllLanes, largest, 2));
    // 0 at first: there is a key in every stage.
    const float shrink = fast_exp2(scale * (softmax.largest[half] - largest));
    const float offset = -scale * largest;
    softmax.largest[half] = largest;
    softmax.sum[half] *= shrink;
#pragma unroll
    for (int d = 0; d < kHead / 8; ++d) {
      softmax.out[d][2 * half] *= shrink;
      softmax.out[d][2 * half + 1] *= shrink;
    }
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
      for (int i = 2 * half; i < 2 * half + 2; ++i) {
        scores[n][i] = fast_exp2(fmaf(scores[n][i], scale, offset));
        softmax.sum[half] += scores[n][i];
      }
    }
  }
#pragma unroll
  for (int k = 0; k < kKeys / 16; ++k) {
    // Fragments C of two neighbouring products are a fragment A.
    const unsigned weights[4] = {pack_pair(Half(), scores[2 * k][0], scores[2 * k][1]),
                                 pack_pair(Half(), scores[2 * k][2], scores[2 * k][3]),
                                 pack_pair(Half(), scores[2 * k + 1][0], scores[2 * k + 1][1]),
                                 pack_pair(Half(), scores[2 * k + 1][2], scores[2 * k + 1][3])};
#pragma unroll
    for (int d = 0; d < kHead / 16; ++d) {
      unsigned parts[4];
      load_matrices_transposed(parts, &stage.values[k * 16 + lane % 16][d * 16 + lane / 16 * 8]);
      multiply_add(Half(), softmax.out[2 * d], weights, parts[0], parts[1]);
      multiply_add(Half(), softmax.out[2 * d + 1], weights, parts[2], parts[3]);
    }
  }
}

template <class Half, int kHead>
__device__ void write(const Softmax<kHead>& softmax, Half* out, std::int64_t stride, int rows) {
  const int lane = threadIdx.x % kWarp;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float sum = softmax.sum[half];
    sum += __shfl_xor_sync(kAllLanes, sum, 1);
    sum += __shfl_xor_sync(kAllLanes, sum, 2);
    const float scale = sum > 0 ? 1.0f / sum : 0.0f;
    const int row = lane / 4 + 8 * half;
    if (row >= rows) continue;
#pragma unroll
    for (int d = 0; d < kHead / 8; ++d) {
      *reinterpret_cast<unsigned*>(out + row * stride + d * 8 + lane % 4 * 2) =
          pack_pair(Half(), softmax.out[d][2 * half] * scale, softmax.out[d][2 * half + 1] * scale);
    }
  }
}

/// A block a tile of queries and head (FlashAttention, Dao 2023, arXiv 2307.08691).
template <class Half, int kHead, int kWarps, int kKeys>
__global__ void __launch_bounds__(kWarps* kWarp) attention_kernel(Attention call) {
  __shared__ Stage<Half, kHead, kKeys> stages[2];
  const std::int64_t tile = blockIdx.x / call.heads;
  const int head = static_cast<int>(blockIdx.x % call.heads);
  const int sequence = call.tiles[2 * tile];
  if (sequence < 0) return;
  const std::int64_t first_query = call.query_offsets[sequence] + call.tiles[2 * tile + 1];
  const std::int64_t first_key = call.key_offsets[sequence];
  const int keys = call.key_offsets[sequence + 1] - call.key_offsets[sequence];
  const int warp_row = static_cast<int>(threadIdx.x) / kWarp * kTileRows;
  // Queries of this warp; none if below 1.
  const int rows = static_cast<int>(call.query_offsets[sequence + 1] - first_query) - warp_row;
  const std::int64_t column = head * kHead;
  const Half* query = static_cast<const Half*>(call.query) + (first_query + warp_row) * call.query_stride + column;
  const Half* key = static_cast<const Half*>(call.key) + first_key * call.key_stride + column;
  const Half* value = static_cast<const Half*>(call.value) + first_key * call.key_stride + column;

  unsigned queries[kHead / 16][4];
  load_queries<Half, kHead>(queries, query, call.query_stride, rows);
  const float scale = 1.44269504f * rsqrtf(static_cast<float>(kHead));  // exp(x) = 2^(x / ln 2)
  Softmax<kHead> softmax;
  const int count = (keys + kKeys - 1) / kKeys;
  if (count > 0) fill(stages[0], key, value, call.key_stride, 0, keys);
  commit_copies();
  for (int i = 0; i < count; ++i) {
    if (i + 1 < count) fill(stages[(i + 1) % 2], key, value, call.key_stride, (i + 1) * kKeys, keys);
    commit_copies();
    wait_for_copies<1>();
    __syncthreads();
    if (rows > 0) {
      float scores[kKeys / 8][4];
      score<Half, kHead, kKeys>(scores, stages[i % 2], queries, keys - i * kKeys);
      absorb<Half, kHead, kKeys>(softmax, scores, stages[i % 2], scale);
    }
    __syncthreads();
  }
  const std::int64_t out_stride = static_cast<std::int64_t>(call.heads) * kHead;
  Half* out = static_cast<Half*>(call.out) + (first_query + warp_row) * out_stride + column;
  if (rows > 0) write<Half, kHead>(softmax, out, out_stride, rows);
}

template <class Half, int kHead>
void launch_tiles(const Attention& call, cudaStream_t stream) {
  const auto grid = static_cast<unsigned>(call.tile_count * call.heads);
  if (call.tile_rows == kTileRows) {
    launch("attention", attention_kernel<Half, kHead, 1, 16>, grid, kWarp, stream, call);
  } else {
    launch("attention", attention_kernel<Half, kHead, 4, 64>, grid, 4 * kWarp, stream, call);
  }
}

template <class Half>
void launch_head(const Attention& call, cudaStream_t stream) {
  if (call.head_size == 32) return launch_tiles<Half, 32>(call, stream);
  if (call.head_size == 64) return launch_tiles<Half, 64>(call, stream);
  throw std::invalid_argument("the attention kernel takes heads of 32 or 64");
}

}  // namespace

void attention(const Attention& call, Element element, cudaStream_t stream) {
  if (call.tile_count == 0) return;
  if (element == Element::kFloat16) return launch_head<__half>(call, stream);
  if (element == Element::kBFloat16) return launch_head<__nv_bfloat16>(call, stream);
  throw std::invalid_argument("the attention kernel takes float16 and bfloat16");
}

}  // namespace taesr::cuda
