#include <torch/library.h>

#include <algorithm>
#include <tuple>

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/matmul.h>
#include <c10/cuda/CUDAGuard.h>

#include "kernels/cuda/head_kernels.h"
#include "kernels/cuda/tensors.h"
#include "kernels/to_device.h"

namespace taesr::cuda {
namespace {

// Logits of one tile, 32 MB in half precision, stay in the second cache (of 40 MB or more) between the product and
// the maximum; smaller tiles leave multiprocessors idle.
constexpr std::int64_t kTileTokens = 4096;
constexpr std::int64_t kTilePieces = 4096;
constexpr std::int64_t kTileTexts = 65535;  // the most that a grid's second dimension takes

std::tuple<at::Tensor, at::Tensor> sparse_max_cuda(const at::Tensor& states, const at::Tensor& table,
                                                   const at::Tensor& bias, at::IntArrayRef offsets) {
  const c10::cuda::CUDAGuard guard(states.device());
  const auto device = states.device();
  require("table", table, device, states.scalar_type());
  const auto biases = bias.to(device, at::kFloat).contiguous();
  const auto texts = static_cast<std::int64_t>(offsets.size()) - 1;
  const std::int64_t vocabulary = table.size(0);
  const auto host = at::from_blob(const_cast<std::int64_t*>(offsets.data()), {texts + 1}, at::kLong);
  const auto borders = to_device(host, device);
  auto weights = at::empty({texts, vocabulary}, states.options().dtype(at::kFloat));
  auto tokens = at::empty_like(weights, weights.options().dtype(at::kInt));
  for (std::int64_t begin = 0, end = 0; begin < texts; begin = end) {
    end = begin + 1;
    while (end < texts && end - begin < kTileTexts && offsets[end + 1] - offsets[begin] <= kTileTokens) ++end;
    const auto rows = states.narrow(0, offsets[begin], offsets[end] - offsets[begin]);
    for (std::int64_t first = 0; first < vocabulary; first += kTilePieces) {
      const std::int64_t pieces = std::min(kTilePieces, vocabulary - first);
      const auto logits = at::matmul(rows, table.narrow(0, first, pieces).t());
      const std::int64_t place = begin * vocabulary + first;
      sparse_max({logits.const_data_ptr(), borders.const_data_ptr<std::int64_t>() + begin,
                  biases.const_data_ptr<float>() + first, weights.mutable_data_ptr<float>() + place,
                  tokens.mutable_data_ptr<std::int32_t>() + place, offsets[begin], end - begin, pieces, vocabulary},
                 element_of(logits), stream_of(logits));
    }
  }
  return {weights, tokens};
}

}  // namespace

TORCH_LIBRARY_IMPL(taesr, CUDA, library) { library.impl("sparse_max", &sparse_max_cuda); }

}  // namespace taesr::cuda
