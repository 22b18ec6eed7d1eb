#include "kernels/cuda/decode_kernels.h"
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/exp2.cuh"
#include "kernels/cuda/mma.cuh"
#include "kernels/cuda/paged_keys.cuh"

namespace taesr::cuda {
namespace {

using Half = __nv_bfloat16;

constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;
constexpr int kQueries = 8;  // that share a head of keys: rows of the products' upper half, the lower one is zero
constexpr int kTiles = 2;    // of 8 entries, in a page

/// A lane's part of a page: with n = lane / 4 and c = lane % 4, of tile t the key of entry n / 2 * 4 + 2 t + n % 2, of
/// it the numbers 8 c and the next seven of each 32; and of value d * 8 + n the entries 4 c and the next three. What
/// the products sum over may stand in any order, if both factors have the same: so all of it is read in wide accesses.
template <int kHead>
struct Page {
  uint4 keys[kTiles][kHead / 32];
  uint2 values[kHead / 8];

  __device__ void load(const Half* page) {
    const int n = threadIdx.x % kWarp / 4;
    const int c = threadIdx.x % 4;
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
      const Half* key = page + (n / 2 * 4 + 2 * t + n % 2) * kHead + c * 8;
#pragma unroll
      for (int h = 0; h < kHead / 32; ++h) keys[t][h] = *reinterpret_cast<const uint4*>(key + h * 32);
    }
    const Half* value = page + (kHead + n) * kDecodePage + c * 4;
#pragma unroll
    for (int d = 0; d < kHead / 8; ++d) values[d] = *reinterpret_cast<const uint2*>(value + d * 8 * kDecodePage);
  }

  /// Zeros for values behind the last entry, where memory may hold anything.
  __device__ void clear_behind(int count) {
    const int kept = count - threadIdx.x % 4 * 4;
    const unsigned first = kept >= 2 ? 0xffffffffu : kept == 1 ? 0xffffu : 0u;
    const unsigned second = kept >= 4 ? 0xffffffffu : kept == 3 ? 0xffffu : 0u;
#pragma unroll
    for (int d = 0; d < kHead / 8; ++d) {
      values[d].x &= first;
      values[d].y &= second;
    }
  }
};

/// The queries of a row that share a head of keys, turned, as a lane needs them beside a page's keys: zeros behind
/// the last.
template <int kHead>
__device__ void load_queries(unsigned (&queries)[kHead / 32][4], const PagedKeys& call, const DecodeRow& row,
                             const Half* query, int count) {
  const int n = threadIdx.x % kWarp / 4;
  const int c = threadIdx.x % 4;
  const float* angles = call.angles + static_cast<std::int64_t>(row.position) * kHead;
#pragma unroll
  for (int h = 0; h < kHead / 32; ++h) {
    const int first = h * 32 + c * 8;
    const int pair = first % (kHead / 2);
    float own[8] = {}, other[8] = {}, cosines[8], sines[8];
    load(angles + pair, cosines);
    load(angles + kHead / 2 + pair, sines);
    if (n < count) {
      load(query + n * kHead + first, own);
      load(query + n * kHead + (first + kHead / 2) % kHead, other);
    }
    const float sign = first < kHead / 2 ? -1.0f : 1.0f;
#pragma unroll
    for (int i = 0; i < 8; ++i) own[i] = score_scale(kHead) * (own[i] * cosines[i] + sign * other[i] * sines[i]);
#pragma unroll
    for (int i = 0; i < 4; ++i) queries[h][i] = pack_pair(Half(), own[2 * i], own[2 * i + 1]);
  }
}

/// What four lanes know of a query, lane / 4: the largest score so far, and with weights 2^(score - largest) each
/// lane's part of their sum, and the values' numbers 8 d + 2 (lane % 4) and the next.
template <int kHead>
struct Softmax {
  float largest = -INFINITY;
  float sum = 0;
  float out[kHead / 8][4] = {};

  /// Takes in a page of `count` entries.
  __device__ void absorb(Page<kHead>& page, const unsigned (&queries)[kHead / 32][4], int count) {
    float scores[kTiles][4] = {};
#pragma unroll
    for (int t = 0; t < kTiles; ++t) {
#pragma unroll
      for (int h = 0; h < kHead / 32; ++h) {
        const uint4 key = page.keys[t][h];
        multiply_add(Half(), scores[t], {queries[h][0], 0u, queries[h][1], 0u}, key.x, key.y);
        multiply_add(Half(), scores[t], {queries[h][2], 0u, queries[h][3], 0u}, key.z, key.w);
      }
    }
    if (count < kDecodePage) {
      page.clear_behind(count);
      const int first = threadIdx.x % 4 * 4;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (first + i >= count) scores[i / 2][i % 2] = -INFINITY;
      }
    }
    weigh(scores);
    const unsigned weights[4] = {pack_pair(Half(), scores[0][0], scores[0][1]), 0u,
                                 pack_pair(Half(), scores[1][0], scores[1][1]), 0u};
#pragma unroll
    for (int d = 0; d < kHead / 8; ++d) multiply_add(Half(), out[d], weights, page.values[d].x, page.values[d].y);
  }

  /// Scores become weights.
  __device__ void weigh(float (&scores)[kTiles][4]) {
    float most = fmaxf(fmaxf(scores[0][0], scores[0][1]), fmaxf(scores[1][0], scores[1][1]));
    most = fmaxf(most, __shfl_xor_sync(kAllLanes, most, 1));
    most = fmaxf(most, __shfl_xor_sync(kAllLanes, most, 2));
    most = fmaxf(most, largest);
    const float shrink = fast_exp2(largest - most);  // 0 at first: there is an entry in every page
    largest = most;
    sum *= shrink;
#pragma unroll
    for (int d = 0; d < kHead / 8; ++d) {
      out[d][0] *= shrink;
      out[d][1] *= shrink;
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      scores[i / 2][i % 2] = fast_exp2(scores[i / 2][i % 2] - largest);
      sum += scores[i / 2][i % 2];
    }
  }
};

/// What warps know of their queries.
template <int kHead>
struct Known {
  float out[kWarps][kQueries][kHead];
  float largest[kWarps][kQueries];
  float sum[kWarps][kQueries];

  __device__ void put(int warp, const Softmax<kHead>& softmax) {
    const int n = threadIdx.x % kWarp / 4;
    const int c = threadIdx.x % 4;
    float total = softmax.sum;
    total += __shfl_xor_sync(kAllLanes, total, 1);
    total += __shfl_xor_sync(kAllLanes, total, 2);
    largest[warp][n] = softmax.largest;
    sum[warp][n] = total;
#pragma unroll
    for (int d = 0; d < kHead / 8; ++d) {
      out[warp][n][d * 8 + 2 * c] = softmax.out[d][0];
      out[warp][n][d * 8 + 2 * c + 1] = softmax.out[d][1];
    }
  }
};

/// Addresses of the pages first, first + step, ... before `end`, one after the other: the lanes hold 32 at a time.
struct Addresses {
  const std::int64_t* list;
  int next;
  int step;
  int end;
  int taken = 0;
  std::int64_t held = 0;

  __device__ std::int64_t take() {
    if (taken % kWarp == 0) {
      const int page = next + (taken + static_cast<int>(threadIdx.x % kWarp)) * step;
      held = page < end ? list[page] : 0;
    }
    return __shfl_sync(kAllLanes, held, taken++ % kWarp);
  }
};

/// What a team of warps works on: queries of a row that share a head of keys, and a part of what they see.
struct Work {
  std::int64_t row;
  int kv_head;
  int head;   // the first query's
  int count;  // queries

  __device__ Work(const PagedKeys& keys, std::int64_t unit) {
    const int group = keys.heads / keys.kv_heads;
    const int chunks = (group + kQueries - 1) / kQueries;
    row = unit / (keys.kv_heads * chunks);
    kv_head = static_cast<int>(unit / chunks % keys.kv_heads);
    const int first = static_cast<int>(unit % chunks) * kQueries;
    head = kv_head * group + first;
    count = min(kQueries, group - first);
  }
};

/// A warp's share: every kTeam-th page, the next on its way while one is worked on.
template <int kHead, int kTeam>
__device__ void attend(Softmax<kHead>& softmax, const PagedAttention& call, const Work& work, int member) {
  const PagedKeys& keys = call.keys;
  const DecodeRow row = keys.rows[work.row];
  const PageRange pages = part_of(row.visible, static_cast<int>(blockIdx.y), call.splits);
  Addresses addresses{keys.addresses + row.list, pages.begin + member, kTeam, pages.end};
  const auto fetch = [&](Page<kHead>& page) { page.load(page_of<const Half>(keys, row, addresses.take(), work.kv_head)); };
  Page<kHead> next;
  if (pages.begin + member < pages.end) fetch(next);
  unsigned queries[kHead / 32][4];
  load_queries<kHead>(queries, keys, row, row_of<Half>(keys, work.row) + work.head * kHead, work.count);
  for (int p = pages.begin + member; p < pages.end; p += kTeam) {
    Page<kHead> page = next;
    if (p + kTeam < pages.end) fetch(next);
    softmax.absorb(page, queries, min(kDecodePage, row.visible - p * kDecodePage));
  }
}

/// Teams of kTeam warps, each with its own work.
template <int kHead, int kTeam>
__global__ void __launch_bounds__(kThreads) tiles_kernel(PagedAttention call, std::int64_t units) {
  __shared__ Known<kHead> known;
  const int warp = threadIdx.x / kWarp;
  const int leader = warp / kTeam * kTeam;
  const std::int64_t unit = static_cast<std::int64_t>(blockIdx.x) * (kWarps / kTeam) + warp / kTeam;
  const Work work(call.keys, min(unit, units - 1));
  if (unit < units) {
    Softmax<kHead> softmax;
    attend<kHead, kTeam>(softmax, call, work, warp - leader);
    known.put(warp, softmax);
  }
  __syncthreads();
  if (unit >= units) return;
  for (int i = threadIdx.x - leader * kWarp; i < work.count * kHead; i += kTeam * kWarp) {
    const int query = i / kHead;
    float largest = -INFINITY;
#pragma unroll
    for (int w = 0; w < kTeam; ++w) largest = fmaxf(largest, known.largest[leader + w][query]);
    float sum = 0;
    float out = 0;
#pragma unroll
    for (int w = 0; w < kTeam; ++w) {
      if (largest == -INFINITY) break;
      const float weight = fast_exp2(known.largest[leader + w][query] - largest);
      sum += weight * known.sum[leader + w][query];
      out += weight * known.out[leader + w][query][i % kHead];
    }
    write<Half>(call, work.row * call.keys.heads + work.head + query, static_cast<int>(blockIdx.y), i % kHead, out,
                largest, sum);
  }
}

template <int kHead, int kTeam>
void launch_team(const PagedAttention& call, std::int64_t units, cudaStream_t stream) {
  const dim3 grid(blocks_for(units, kWarps / kTeam), static_cast<unsigned>(call.splits));
  launch("decode_attend", tiles_kernel<kHead, kTeam>, grid, kThreads, stream, call, units);
}

/// More warps for each query where there are few of them.
template <int kHead>
void launch_head(const PagedAttention& call, cudaStream_t stream) {
  constexpr std::int64_t kManyWarps = 132 * 12;
  const int group = call.keys.heads / call.keys.kv_heads;
  const std::int64_t units = call.keys.count * call.keys.kv_heads * ((group + kQueries - 1) / kQueries);
  if (units * call.splits >= kManyWarps) return launch_team<kHead, 1>(call, units, stream);
  if (2 * units * call.splits >= kManyWarps) return launch_team<kHead, 2>(call, units, stream);
  launch_team<kHead, 4>(call, units, stream);
}

}  // namespace

bool attend_by_tiles(const PagedAttention& call, cudaStream_t stream) {
  switch (call.keys.head_size) {
    case 32: launch_head<32>(call, stream); return true;
    case 64: launch_head<64>(call, stream); return true;
    case 128: launch_head<128>(call, stream); return true;
    default: return false;
  }
}

}  // namespace taesr::cuda
