#include <cmath>

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/head_kernels.h"
#include "kernels/cuda/mma.cuh"

namespace taesr::cuda {
namespace {

constexpr int kWarps = 4;
constexpr int kQueryTokens = 32;  // that a block compares at a time
constexpr int kTiles = kQueryTokens / 8;

/// Sum over the query tokens [0, count) of the largest of the warps' maxima, in lane order; warp 0.
__device__ float sum_of_maxima(const float (*maxima)[kQueryTokens], int count) {
  const int lane = threadIdx.x % kWarp;
  float largest = maxima[0][lane];
  for (int w = 1; w < kWarps; ++w) largest = fmaxf(largest, maxima[w][lane]);
  return warp_sum(lane < count ? largest : 0.0f);
}

/// A block a document and query; a warp takes every fourth tile of 16 document tokens.
template <class Half>
__global__ void __launch_bounds__(kWarps* kWarp) maxsim_kernel(MaxSim call) {
  constexpr int kUnit = kAccess / sizeof(Half);
  alignas(kAccess) __shared__ Half query[kQueryTokens][kMaxSimWidth + kUnit];
  __shared__ float maxima[kWarps][kQueryTokens];
  const std::int64_t document = blockIdx.x;
  const std::int64_t begin = call.document_offsets[document];
  const int length = static_cast<int>(call.document_offsets[document + 1] - begin);
  const std::int64_t query_begin = call.query_offsets[blockIdx.y];
  const int query_length = static_cast<int>(call.query_offsets[blockIdx.y + 1] - query_begin);
  const int lane = threadIdx.x % kWarp;
  const int warp = threadIdx.x / kWarp;
  const int pair = lane % 4 * 2;
  const Half* rows = static_cast<const Half*>(call.documents) + begin * call.width;
  float sum = 0;
  for (int base = 0; base < query_length && length > 0; base += kQueryTokens) {
    const int count = min(kQueryTokens, query_length - base);
    const Half* source = static_cast<const Half*>(call.queries) + (query_begin + base) * call.width;
    const int units = call.width / kUnit;
    for (int i = threadIdx.x; i < kQueryTokens * units; i += kWarps * kWarp) {
      const int row = i / units;
      const int column = i % units * kUnit;
      const bool exists = row < count;
      copy_async(&query[row][column], source + (exists ? row * call.width + column : 0), exists);
    }
    commit_copies();
    wait_for_copies<0>();
    __syncthreads();
    float best[kTiles][2];
#pragma unroll
    for (int n = 0; n < kTiles; ++n) best[n][0] = best[n][1] = -INFINITY;
    for (int first = warp * 16; first < length; first += kWarps * 16) {
      float products[kTiles][4] = {};
      const int row = first + lane / 4;
      for (int k = 0; k < call.width; k += 16) {
        unsigned a[4];
#pragma unroll
        for (int part = 0; part < 4; ++part) {
          const int r = row + part % 2 * 8;
          const Half* from = rows + static_cast<std::int64_t>(r) * call.width + k + pair + part / 2 * 8;
          a[part] = r < length ? *reinterpret_cast<const unsigned*>(from) : 0u;
        }
#pragma unroll
        for (int n = 0; n < kTiles; n += 2) {
          // Query tokens n * 8 and the 15 after them: the first eight in parts 0 and 1.
          unsigned parts[4];
          load_matrices(parts, &query[n * 8 + lane / 16 * 8 + lane % 8][k + lane / 8 % 2 * 8]);
          multiply_add(Half(), products[n], a, parts[0], parts[1]);
          multiply_add(Half(), products[n + 1], a, parts[2], parts[3]);
        }
      }
#pragma unroll
      for (int n = 0; n < kTiles; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          if (row + i / 2 * 8 < length) best[n][i % 2] = fmaxf(best[n][i % 2], products[n][i]);
        }
      }
    }
#pragma unroll
    for (int n = 0; n < kTiles; ++n) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        for (int step = 4; step < kWarp; step *= 2) {
          best[n][i] = fmaxf(best[n][i], __shfl_xor_sync(kAllLanes, best[n][i], step));
        }
        if (lane < 4) maxima[warp][n * 8 + pair + i] = best[n][i];
      }
    }
    __syncthreads();
    if (warp == 0) sum += sum_of_maxima(maxima, count);
    __syncthreads();
  }
  if (threadIdx.x == 0) call.scores[blockIdx.y * call.document_count + document] = sum;
}

/// The same in float32 throughout: a lane a query token, a warp every fourth document token.
__global__ void __launch_bounds__(kWarps* kWarp) maxsim_float_kernel(MaxSim call) {
  __shared__ float query[kQueryTokens][kMaxSimWidth + 1];
  __shared__ float maxima[kWarps][kQueryTokens];
  const std::int64_t document = blockIdx.x;
  const std::int64_t begin = call.document_offsets[document];
  const std::int64_t end = call.document_offsets[document + 1];
  const std::int64_t query_begin = call.query_offsets[blockIdx.y];
  const int query_length = static_cast<int>(call.query_offsets[blockIdx.y + 1] - query_begin);
  const int lane = threadIdx.x % kWarp;
  const int warp = threadIdx.x / kWarp;
  float sum = 0;
  for (int base = 0; base < query_length && end > begin; base += kQueryTokens) {
    const int count = min(kQueryTokens, query_length - base);
    const float* source = static_cast<const float*>(call.queries) + (query_begin + base) * call.width;
    for (int i = threadIdx.x; i < kQueryTokens * call.width; i += kWarps * kWarp) {
      query[i / call.width][i % call.width] = i < count * call.width ? source[i] : 0.0f;
    }
    __syncthreads();
    float best = -INFINITY;
    for (std::int64_t row = begin + warp; row < end; row += kWarps) {
      const float* values = static_cast<const float*>(call.documents) + row * call.width;
      float product = 0;
      for (int k = 0; k < call.width; ++k) product += values[k] * query[lane][k];
      best = fmaxf(best, product);
    }
    maxima[warp][lane] = best;
    __syncthreads();
    if (warp == 0) sum += sum_of_maxima(maxima, count);
    __syncthreads();
  }
  if (threadIdx.x == 0) call.scores[blockIdx.y * call.document_count + document] = sum;
}

}  // namespace

void maxsim(const MaxSim& call, Element element, cudaStream_t stream) {
  if (call.query_count == 0 || call.document_count == 0) return;
  const dim3 grid(static_cast<unsigned>(call.document_count), static_cast<unsigned>(call.query_count));
  const dim3 block(kWarps * kWarp);
  switch (element) {
    case Element::kFloat32: return launch("maxsim", maxsim_float_kernel, grid, block, stream, call);
    case Element::kFloat16: return launch("maxsim", maxsim_kernel<__half>, grid, block, stream, call);
    case Element::kBFloat16: return launch("maxsim", maxsim_kernel<__nv_bfloat16>, grid, block, stream, call);
  }
}

}  // namespace taesr::cuda
