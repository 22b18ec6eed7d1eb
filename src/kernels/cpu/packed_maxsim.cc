#include "kernels/packed_maxsim.h"

#include <torch/library.h>

#include <limits>

#include <ATen/TensorOperators.h>
#include <ATen/ops/diff.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/segment_reduce.h>
#include <ATen/ops/zeros.h>

#include "kernels/dispatch.h"

namespace taesr {
namespace {

using Signature = at::Tensor(const at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&);

// Products in flight: [document tokens, query tokens].
constexpr std::int64_t kTileTokens = 8192;

/// Reduces the rows [rows, columns] of each segment, from `start` on.
at::Tensor reduce(const at::Tensor& rows, const char* how, const at::Tensor& lengths, double start) {
  return at::segment_reduce(rows, how, lengths, {}, {}, 0, /*unsafe=*/true, start);
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(taesr, library) {
  library.def("maxsim(Tensor queries, Tensor query_offsets, Tensor documents, Tensor document_offsets) -> Tensor");
}

TORCH_LIBRARY_IMPL(taesr, CompositeExplicitAutograd, library) { library.impl("maxsim", &packed_maxsim_by_aten); }

at::Tensor packed_maxsim_by_aten(const at::Tensor& queries, const at::Tensor& query_offsets,
                                 const at::Tensor& documents, const at::Tensor& document_offsets) {
  const auto host_offsets = document_offsets.cpu().contiguous();
  const auto* border = host_offsets.const_data_ptr<std::int64_t>();
  const std::int64_t count = host_offsets.size(0) - 1;
  const auto query_lengths = at::diff(query_offsets);
  const auto document_lengths = at::diff(document_offsets);
  const auto transposed = queries.to(at::kFloat).t();
  auto scores = at::zeros({query_offsets.size(0) - 1, count}, queries.options().dtype(at::kFloat));
  if (queries.size(0) == 0) return scores;
  for (std::int64_t begin = 0, end = 0; begin < count; begin = end) {
    end = begin + 1;
    while (end < count && border[end + 1] - border[begin] <= kTileTokens) ++end;
    if (border[end] == border[begin]) continue;
    const auto rows = documents.narrow(0, border[begin], border[end] - border[begin]).to(at::kFloat);
    const auto lengths = document_lengths.narrow(0, begin, end - begin);
    const auto largest = reduce(at::matmul(rows, transposed), "max", lengths, -std::numeric_limits<double>::infinity())
                             .masked_fill((lengths == 0).unsqueeze(1), 0);
    scores.narrow(1, begin, end - begin).copy_(reduce(largest.t().contiguous(), "sum", query_lengths, 0));
  }
  return scores;
}

at::Tensor packed_maxsim(const at::Tensor& queries, const at::Tensor& query_offsets, const at::Tensor& documents,
                         const at::Tensor& document_offsets) {
  static const auto op = find_operator<Signature>("taesr::maxsim");
  return op.call(queries, query_offsets, documents, document_offsets);
}

}  // namespace taesr
