#include <algorithm>

#include "kernels/cuda/device.cuh"
#include "kernels/cuda/layer_kernels.h"

namespace taesr::cuda {
namespace {

constexpr int kWarpsPerBlock = 8;
constexpr int kVector = 4;

/// A warp holds one row: `Parts` times four values a lane.
template <int Parts>
using Row = float[Parts][kVector];

__device__ std::int64_t first_row() { return static_cast<std::int64_t>(blockIdx.x) * kWarpsPerBlock + threadIdx.y; }

/// x = (x - mean) / sqrt(variance + eps) * gain + shift.
template <int Parts>
__device__ void normalise(Row<Parts>& x, const float* gain, const float* shift, int width, float eps) {
  const int first = static_cast<int>(threadIdx.x) * kVector;
  const float scale = 1.0f / static_cast<float>(width);
  float total = 0;
#pragma unroll
  for (int p = 0; p < Parts; ++p) {
#pragma unroll
    for (int i = 0; i < kVector; ++i) total += x[p][i];
  }
  const float mean = warp_sum(total) * scale;
  float square = 0;
#pragma unroll
  for (int p = 0; p < Parts; ++p) {
#pragma unroll
    for (int i = 0; i < kVector; ++i) square += (x[p][i] - mean) * (x[p][i] - mean);
  }
  const float rstd = rsqrtf(warp_sum(square) * scale + eps);
#pragma unroll
  for (int p = 0; p < Parts; ++p) {
    float gains[kVector], shifts[kVector];
    load(gain + first + p * kNormStep, gains);
    load(shift + first + p * kNormStep, shifts);
#pragma unroll
    for (int i = 0; i < kVector; ++i) x[p][i] = (x[p][i] - mean) * rstd * gains[i] + shifts[i];
  }
}

/// x += factor * row.
template <class T, int Parts>
__device__ void add_row(Row<Parts>& x, const T* row) {
  const int first = static_cast<int>(threadIdx.x) * kVector;
#pragma unroll
  for (int p = 0; p < Parts; ++p) {
    float values[kVector];
    load(row + first + p * kNormStep, values);
#pragma unroll
    for (int i = 0; i < kVector; ++i) x[p][i] += values[i];
  }
}

template <class T, int Parts>
__device__ void store_row(const Row<Parts>& x, T* row) {
  const int first = static_cast<int>(threadIdx.x) * kVector;
#pragma unroll
  for (int p = 0; p < Parts; ++p) store(row + first + p * kNormStep, x[p]);
}

template <class T, int Parts>
__global__ void embed_norm_kernel(EmbedNorm call) {
  const std::int64_t width = call.width;
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kWarpsPerBlock;
  for (std::int64_t t = first_row(); t < call.rows; t += step) {
    const int place = call.places[t];
    Row<Parts> x = {};
    add_row(x, static_cast<const T*>(call.token) + call.tokens[t] * width);
    add_row(x, static_cast<const T*>(call.position) + (place / 2) * width);
    add_row(x, static_cast<const T*>(call.role) + (place % 2) * width);
    normalise<Parts>(x, call.gain, call.shift, call.width, call.eps);
    store_row(x, static_cast<T*>(call.out) + t * width);
  }
}

template <class T, int Parts>
__global__ void add_norm_in_place_kernel(AddNormInPlace call) {
  const std::int64_t width = call.width;
  const int first = static_cast<int>(threadIdx.x) * kVector;
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kWarpsPerBlock;
  for (std::int64_t r = first_row(); r < call.rows; r += step) {
    T* row = static_cast<T*>(call.x) + r * width;
    Row<Parts> x = {};
    add_row(x, static_cast<const T*>(row));
    add_row(x, static_cast<const T*>(call.y) + r * width);
    add_row(x, call.bias);
    normalise<Parts>(x, call.gain, call.shift, call.width, call.eps);
    if (r < call.carried) {
      const T* entry = static_cast<const T*>(call.entry) + r * width;
#pragma unroll
      for (int p = 0; p < Parts; ++p) {
        float values[kVector], scales[kVector];
        load(entry + first + p * kNormStep, values);
        load(call.scale + first + p * kNormStep, scales);
#pragma unroll
        for (int i = 0; i < kVector; ++i) x[p][i] += scales[i] * values[i];
      }
    }
    store_row(x, row);
  }
}

/// A block a sequence, four columns a thread.
template <class T>
__global__ void segment_mean_kernel(SegmentMean call) {
  const std::int64_t begin = call.offsets[blockIdx.x];
  const std::int64_t end = call.offsets[blockIdx.x + 1];
  const int column = static_cast<int>(threadIdx.x) * kVector;
  const T* x = static_cast<const T*>(call.x) + column;
  float sum[kVector] = {};
#pragma unroll 4
  for (std::int64_t row = begin; row < end; ++row) {
    float values[kVector];
    load(x + row * call.width, values);
#pragma unroll
    for (int i = 0; i < kVector; ++i) sum[i] += values[i];
  }
  const float scale = end > begin ? 1.0f / static_cast<float>(end - begin) : 0.0f;
#pragma unroll
  for (int i = 0; i < kVector; ++i) sum[i] *= scale;
  store(call.out + static_cast<std::int64_t>(blockIdx.x) * call.width + column, sum);
}

template <class T, int Parts>
void launch_parts(const EmbedNorm& call, unsigned grid, dim3 block, cudaStream_t stream) {
  launch("embed_norm", embed_norm_kernel<T, Parts>, grid, block, stream, call);
}

template <class T, int Parts>
void launch_parts(const AddNormInPlace& call, unsigned grid, dim3 block, cudaStream_t stream) {
  launch("add_norm_in_place", add_norm_in_place_kernel<T, Parts>, grid, block, stream, call);
}

/// Picks the instance of the call's width; the caller has checked that there is one.
template <class T, class Call>
void launch_width(const Call& call, cudaStream_t stream) {
  const dim3 block(kWarp, kWarpsPerBlock);
  const unsigned grid = std::min(blocks_for(call.rows, kWarpsPerBlock), 132u * 16);
  switch (call.width / kNormStep) {
    case 1: return launch_parts<T, 1>(call, grid, block, stream);
    case 2: return launch_parts<T, 2>(call, grid, block, stream);
    case 3: return launch_parts<T, 3>(call, grid, block, stream);
    case 4: return launch_parts<T, 4>(call, grid, block, stream);
    case 5: return launch_parts<T, 5>(call, grid, block, stream);
    case 6: return launch_parts<T, 6>(call, grid, block, stream);
    case 7: return launch_parts<T, 7>(call, grid, block, stream);
    case 8: return launch_parts<T, 8>(call, grid, block, stream);
    default: throw std::invalid_argument("the norm kernels take widths of 128, 256, ... 1024");
  }
}

template <class Call>
void launch_element(const Call& call, Element element, cudaStream_t stream) {
  if (call.rows == 0) return;
  switch (element) {
    case Element::kFloat32: return launch_width<float>(call, stream);
    case Element::kFloat16: return launch_width<__half>(call, stream);
    case Element::kBFloat16: return launch_width<__nv_bfloat16>(call, stream);
  }
}

}  // namespace

void embed_norm(const EmbedNorm& call, Element element, cudaStream_t stream) { launch_element(call, element, stream); }

void add_norm_in_place(const AddNormInPlace& call, Element element, cudaStream_t stream) {
  launch_element(call, element, stream);
}

void segment_mean(const SegmentMean& call, Element element, cudaStream_t stream) {
  if (call.sequences == 0) return;
  const auto grid = static_cast<unsigned>(call.sequences);
  const auto threads = static_cast<unsigned>(call.width / kVector);
  switch (element) {
    case Element::kFloat32: return launch("segment_mean", segment_mean_kernel<float>, grid, threads, stream, call);
    case Element::kFloat16: return launch("segment_mean", segment_mean_kernel<__half>, grid, threads, stream, call);
    case Element::kBFloat16:
      return launch("segment_mean", segment_mean_kernel<__nv_bfloat16>, grid, threads, stream, call);
  }
}

}  // namespace taesr::cuda
