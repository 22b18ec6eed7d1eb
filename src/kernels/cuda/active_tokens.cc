#include <torch/library.h>

#include <optional>
#include <tuple>

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <c10/cuda/CUDAGuard.h>

#include "kernels/cuda/tensors.h"
#include "kernels/cuda/token_kernels.h"

namespace taesr::cuda {
namespace {

std::tuple<at::Tensor, at::Tensor> active_rows_cuda(const at::Tensor& mask, const at::Tensor& offsets) {
  const c10::cuda::CUDAGuard device(mask.device());
  const auto flags = packed("mask", mask, mask.device(), at::kBool);
  const auto borders = packed("offsets", offsets, mask.device(), at::kLong);
  const std::int64_t tokens = flags.size(0);
  auto rows = at::empty({tokens}, borders.options());
  auto active_offsets = at::empty_like(borders);
  auto before = at::empty({tokens + 1}, borders.options().dtype(at::kInt));
  auto counts = at::empty({active_row_blocks(tokens)}, before.options());
  active_rows({flags.const_data_ptr<bool>(), borders.const_data_ptr<std::int64_t>(),
               rows.mutable_data_ptr<std::int64_t>(), active_offsets.mutable_data_ptr<std::int64_t>(),
               before.mutable_data_ptr<std::int32_t>(), counts.mutable_data_ptr<std::int32_t>(), tokens,
               borders.size(0) - 1},
              stream_of(mask));
  return {rows, active_offsets};
}

at::Tensor best_rows_cuda(const at::Tensor& scores, const std::optional<at::Tensor>& going, const at::Tensor& offsets,
                          const at::Tensor& kept_offsets, std::int64_t kept) {
  const c10::cuda::CUDAGuard device(scores.device());
  const auto values = packed("scores", scores, scores.device(), at::kFloat);
  const auto borders = packed("offsets", offsets, scores.device(), at::kLong);
  const auto kept_borders = packed("kept_offsets", kept_offsets, scores.device(), at::kLong);
  const auto flags = going ? packed("going", *going, scores.device(), at::kBool) : at::Tensor();
  auto rows = at::empty({kept}, borders.options());
  best_rows({values.const_data_ptr<float>(), flags.defined() ? flags.const_data_ptr<bool>() : nullptr,
             borders.const_data_ptr<std::int64_t>(), kept_borders.const_data_ptr<std::int64_t>(),
             rows.mutable_data_ptr<std::int64_t>(), borders.size(0) - 1},
            stream_of(scores));
  return rows;
}

}  // namespace

TORCH_LIBRARY_IMPL(taesr, CUDA, library) {
  library.impl("active_rows", &active_rows_cuda);
  library.impl("best_rows", &best_rows_cuda);
}

}  // namespace taesr::cuda
