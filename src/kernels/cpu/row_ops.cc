#include "kernels/row_ops.h"

#include <torch/library.h>

#include <ATen/TensorOperators.h>

#include "kernels/dispatch.h"

namespace taesr {
namespace {

at::Tensor gather_rows_by_aten(const at::Tensor& x, const at::Tensor& rows) { return x.index_select(0, rows); }

void scatter_rows_by_aten(at::Tensor& x, const at::Tensor& rows, const at::Tensor& values) {
  x.index_copy_(0, rows, values);
}

void scatter_gated_by_aten(at::Tensor& x, const at::Tensor& rows, const at::Tensor& moved, const at::Tensor& gate) {
  const auto before = x.index_select(0, rows).to(at::kFloat);
  x.index_copy_(0, rows, (before + gate.unsqueeze(1) * (moved.to(at::kFloat) - before)).to(x.scalar_type()));
}

void kv_append_by_aten(at::Tensor& cache, const at::Tensor& rows, const at::Tensor& qkv) {
  cache.index_copy_(0, rows, qkv.narrow(1, qkv.size(1) / 3, cache.size(1)));
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(taesr, library) {
  library.def("gather_rows(Tensor x, Tensor rows) -> Tensor");
  library.def("scatter_rows_(Tensor(a!) x, Tensor rows, Tensor values) -> ()");
  library.def("scatter_gated_(Tensor(a!) x, Tensor rows, Tensor moved, Tensor gate) -> ()");
  library.def("kv_append_(Tensor(a!) cache, Tensor rows, Tensor qkv) -> ()");
}

TORCH_LIBRARY_IMPL(taesr, CompositeExplicitAutograd, library) {
  library.impl("gather_rows", &gather_rows_by_aten);
  library.impl("scatter_rows_", &scatter_rows_by_aten);
  library.impl("scatter_gated_", &scatter_gated_by_aten);
  library.impl("kv_append_", &kv_append_by_aten);
}

at::Tensor gather_rows(const at::Tensor& x, const at::Tensor& rows) {
  static const auto op = find_operator<at::Tensor(const at::Tensor&, const at::Tensor&)>("taesr::gather_rows");
  return op.call(x, rows);
}

void scatter_rows_(at::Tensor& x, const at::Tensor& rows, const at::Tensor& values) {
  static const auto op = find_operator<void(at::Tensor&, const at::Tensor&, const at::Tensor&)>("taesr::scatter_rows_");
  op.call(x, rows, values);
}

void scatter_gated_(at::Tensor& x, const at::Tensor& rows, const at::Tensor& moved, const at::Tensor& gate) {
  using Signature = void(at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&);
  static const auto op = find_operator<Signature>("taesr::scatter_gated_");
  op.call(x, rows, moved, gate);
}

void kv_append_(at::Tensor& cache, const at::Tensor& rows, const at::Tensor& qkv) {
  static const auto op = find_operator<void(at::Tensor&, const at::Tensor&, const at::Tensor&)>("taesr::kv_append_");
  op.call(cache, rows, qkv);
}

}  // namespace taesr
