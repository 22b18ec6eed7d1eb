#include "kernels/cuda/device.cuh"
#include "kernels/cuda/token_kernels.h"

namespace taesr::cuda {
namespace {

constexpr int kWarpsPerBlock = 8;

__device__ std::int64_t first_row() { return static_cast<std::int64_t>(blockIdx.x) * kWarpsPerBlock + threadIdx.y; }

/// A warp a row.
template <class Unit>
__global__ void copy_rows_kernel(RowCopy call) {
  const std::int64_t units = call.row_bytes / static_cast<std::int64_t>(sizeof(Unit));
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kWarpsPerBlock;
  for (std::int64_t i = first_row(); i < call.rows; i += step) {
    const std::int64_t from_row = call.from_rows == nullptr ? i : call.from_rows[i];
    const std::int64_t to_row = call.to_rows == nullptr ? i : call.to_rows[i];
    const char* source = static_cast<const char*>(call.from) + from_row * call.from_stride_bytes;
    char* target = static_cast<char*>(call.to) + to_row * call.to_stride_bytes;
    const auto* from = reinterpret_cast<const Unit*>(source);
    auto* to = reinterpret_cast<Unit*>(target);
    for (std::int64_t unit = threadIdx.x; unit < units; unit += kWarp) to[unit] = from[unit];
  }
}

/// A warp a row.
template <class T>
__global__ void scatter_gated_kernel(GatedScatter call) {
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kWarpsPerBlock;
  for (std::int64_t i = first_row(); i < call.count; i += step) {
    T* x = static_cast<T*>(call.x) + call.rows[i] * call.width;
    const T* moved = static_cast<const T*>(call.moved) + i * call.width;
    const float gate = call.gate[i];
    for (int column = threadIdx.x; column < call.width; column += kWarp) {
      const float before = static_cast<float>(x[column]);
      x[column] = static_cast<T>(before + gate * (static_cast<float>(moved[column]) - before));
    }
  }
}

unsigned grid_for(std::int64_t rows) {
  constexpr unsigned kBlocks = 132 * 16;
  const unsigned wanted = blocks_for(rows, kWarpsPerBlock);
  return wanted < kBlocks ? wanted : kBlocks;
}

const dim3 kBlock(kWarp, kWarpsPerBlock);

template <class Unit>
void launch_copy(const RowCopy& call, cudaStream_t stream) {
  launch("copy_rows", copy_rows_kernel<Unit>, grid_for(call.rows), kBlock, stream, call);
}

}  // namespace

void copy_rows(const RowCopy& call, cudaStream_t stream) {
  if (call.rows == 0 || call.row_bytes == 0) return;
  // The widest access that all rows begin and end at.
  const auto addresses = reinterpret_cast<std::uint64_t>(call.from) | reinterpret_cast<std::uint64_t>(call.to);
  const auto steps = static_cast<std::uint64_t>(call.row_bytes | call.from_stride_bytes | call.to_stride_bytes);
  const std::uint64_t borders = addresses | steps;
  if (borders % kAccess == 0) return launch_copy<uint4>(call, stream);
  if (borders % sizeof(unsigned) == 0) return launch_copy<unsigned>(call, stream);
  launch_copy<unsigned char>(call, stream);
}

void scatter_gated(const GatedScatter& call, Element element, cudaStream_t stream) {
  if (call.count == 0) return;
  const unsigned grid = grid_for(call.count);
  switch (element) {
    case Element::kFloat32: return launch("scatter_gated", scatter_gated_kernel<float>, grid, kBlock, stream, call);
    case Element::kFloat16: return launch("scatter_gated", scatter_gated_kernel<__half>, grid, kBlock, stream, call);
    case Element::kBFloat16:
      return launch("scatter_gated", scatter_gated_kernel<__nv_bfloat16>, grid, kBlock, stream, call);
  }
}

}  // namespace taesr::cuda
