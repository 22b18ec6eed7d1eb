#include "kernels/cuda/decode_kernels.h"
#include "kernels/cuda/device.cuh"
#include "kernels/cuda/paged_keys.cuh"

namespace taesr::cuda {
namespace {

constexpr int kThreads = 128;

/// A block a row.
template <class T>
__global__ void append_kernel(PagedKeys call) {
  const DecodeRow row = call.rows[blockIdx.x];
  if (row.entry < 0) return;
  const int size = call.head_size;
  const T* keys = row_of<T>(call, blockIdx.x) + call.heads * size;
  const float* angles = call.angles + static_cast<std::int64_t>(row.position) * size;
  for (int i = threadIdx.x; i < call.kv_heads * size; i += blockDim.x) {
    const int head = i / size;
    const int dim = i % size;
    T* page = page_of<T>(call, row, call.addresses[row.list + row.entry / kDecodePage], head);
    const int entry = row.entry % kDecodePage;
    page[entry * size + dim] = static_cast<T>(turned(keys + head * size, dim, size / 2, angles));
    page[(size + dim) * kDecodePage + entry] = keys[(call.kv_heads + head) * size + dim];
  }
}

}  // namespace

void decode_append(const PagedKeys& call, Element element, cudaStream_t stream) {
  if (call.count == 0) return;
  const auto grid = static_cast<unsigned>(call.count);
  if (element == Element::kFloat32) return launch("decode_append", append_kernel<float>, grid, kThreads, stream, call);
  launch("decode_append", append_kernel<__nv_bfloat16>, grid, kThreads, stream, call);
}

}  // namespace taesr::cuda
