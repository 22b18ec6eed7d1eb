#include "kernels/packed_maxsim.h"

#include <torch/library.h>

#include <algorithm>

#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAGuard.h>

#include "kernels/cuda/head_kernels.h"
#include "kernels/cuda/tensors.h"

namespace taesr::cuda {
namespace {

constexpr std::int64_t kQueriesAtOnce = 65535;  // the most that a grid's second dimension takes

at::Tensor packed_maxsim_cuda(const at::Tensor& queries, const at::Tensor& query_offsets, const at::Tensor& documents,
                              const at::Tensor& document_offsets) {
  const c10::cuda::CUDAGuard guard(queries.device());
  const auto device = queries.device();
  const std::int64_t width = queries.size(1);
  if (documents.size(1) != width) throw InvalidArgument("queries and documents must have one width");
  const bool fits = width <= kMaxSimWidth && (queries.scalar_type() == at::kFloat || width % 16 == 0);
  if (!fits) return packed_maxsim_by_aten(queries, query_offsets, documents, document_offsets);
  const auto query_rows = queries.contiguous();
  const auto document_rows = packed("documents", documents, device, queries.scalar_type());
  const auto query_borders = packed("query_offsets", query_offsets, device, at::kLong);
  const auto document_borders = packed("document_offsets", document_offsets, device, at::kLong);
  const std::int64_t query_count = query_borders.size(0) - 1;
  const std::int64_t count = document_borders.size(0) - 1;
  auto scores = at::empty({query_count, count}, queries.options().dtype(at::kFloat));
  for (std::int64_t first = 0; first < query_count; first += kQueriesAtOnce) {
    maxsim({query_rows.const_data_ptr(), document_rows.const_data_ptr(),
            query_borders.const_data_ptr<std::int64_t>() + first, document_borders.const_data_ptr<std::int64_t>(),
            scores.mutable_data_ptr<float>() + first * count, std::min(kQueriesAtOnce, query_count - first), count,
            static_cast<int>(width)},
           element_of(queries), stream_of(queries));
  }
  return scores;
}

}  // namespace

TORCH_LIBRARY_IMPL(taesr, CUDA, library) { library.impl("maxsim", &packed_maxsim_cuda); }

}  // namespace taesr::cuda
