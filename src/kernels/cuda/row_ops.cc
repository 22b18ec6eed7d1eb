#include <torch/library.h>

#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAGuard.h>

#include "kernels/cuda/tensors.h"
#include "kernels/cuda/token_kernels.h"

namespace taesr::cuda {
namespace {

/// Rows of `from` [., width] to rows of `to` [., width]; undefined row numbers mean one after the other.
void copy(const at::Tensor& from, const at::Tensor& from_rows, const at::Tensor& to, const at::Tensor& to_rows,
          std::int64_t rows) {
  if (from.dim() != 2 || to.dim() != 2 || from.size(1) != to.size(1) || from.scalar_type() != to.scalar_type()) {
    throw InvalidArgument("rows are copied between matrices of one width and dtype");
  }
  if (from.stride(1) != 1 || to.stride(1) != 1) throw InvalidArgument("the values of a row must lie side by side");
  const auto numbers = [](const at::Tensor& x) { return x.defined() ? x.const_data_ptr<std::int64_t>() : nullptr; };
  const std::int64_t size = from.element_size();
  copy_rows({from.const_data_ptr(), to.data_ptr(), numbers(from_rows), numbers(to_rows), rows, from.size(1) * size,
             from.stride(0) * size, to.stride(0) * size},
            stream_of(from));
}

at::Tensor gather_rows_cuda(const at::Tensor& x, const at::Tensor& rows) {
  const c10::cuda::CUDAGuard device(x.device());
  const auto numbers = packed("rows", rows, x.device(), at::kLong);
  const auto source = x.stride(1) == 1 ? x : x.contiguous();
  auto result = at::empty({numbers.size(0), x.size(1)}, x.options());
  copy(source, numbers, result, {}, numbers.size(0));
  return result;
}

void scatter_rows_cuda(at::Tensor& x, const at::Tensor& rows, const at::Tensor& values) {
  const c10::cuda::CUDAGuard device(x.device());
  require("values", values, x.device(), x.scalar_type());
  const auto numbers = packed("rows", rows, x.device(), at::kLong);
  if (values.size(0) != numbers.size(0)) throw InvalidArgument("there must be a row number for each row of values");
  copy(values.stride(1) == 1 ? values : values.contiguous(), {}, x, numbers, numbers.size(0));
}

void scatter_gated_cuda(at::Tensor& x, const at::Tensor& rows, const at::Tensor& moved, const at::Tensor& gate) {
  const c10::cuda::CUDAGuard device(x.device());
  const auto numbers = packed("rows", rows, x.device(), at::kLong);
  const auto values = packed("moved", moved, x.device(), x.scalar_type());
  const auto gates = packed("gate", gate, x.device(), at::kFloat);
  const std::int64_t count = numbers.size(0);
  if (!x.is_contiguous() || values.size(0) != count || gates.numel() != count || values.size(1) != x.size(1)) {
    throw InvalidArgument("x must be contiguous, and moved and gate have a row for each row number");
  }
  scatter_gated({x.data_ptr(), values.const_data_ptr(), gates.const_data_ptr<float>(),
                 numbers.const_data_ptr<std::int64_t>(), count, static_cast<int>(x.size(1))},
                element_of(x), stream_of(x));
}

void kv_append_cuda(at::Tensor& cache, const at::Tensor& rows, const at::Tensor& qkv) {
  scatter_rows_cuda(cache, rows, qkv.narrow(1, qkv.size(1) / 3, cache.size(1)));
}

}  // namespace

TORCH_LIBRARY_IMPL(taesr, CUDA, library) {
  library.impl("gather_rows", &gather_rows_cuda);
  library.impl("scatter_rows_", &scatter_rows_cuda);
  library.impl("scatter_gated_", &scatter_gated_cuda);
  library.impl("kv_append_", &kv_append_cuda);
}

}  // namespace taesr::cuda
