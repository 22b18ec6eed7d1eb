#include "kernels/norm_ops.h"

#include <torch/library.h>

#include <ATen/TensorOperators.h>
#include <ATen/ops/diff.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/segment_reduce.h>

#include "kernels/dispatch.h"

namespace taesr {
namespace {

using EmbedSignature = at::Tensor(const at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&,
                                  const at::Tensor&, const at::Tensor&, const at::Tensor&, double);
using AddSignature = void(at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&,
                          double, const std::optional<at::Tensor>&, const std::optional<at::Tensor>&, std::int64_t);
using MeanSignature = at::Tensor(const at::Tensor&, const at::Tensor&);

at::Tensor embed_norm_op(const at::Tensor& tokens, const at::Tensor& places, const at::Tensor& token,
                          const at::Tensor& position, const at::Tensor& role, const at::Tensor& gain,
                          const at::Tensor& shift, double eps) {
  return embed_norm_by_aten(tokens, places, token, position, role, {gain, shift, eps});
}

void add_norm_op(at::Tensor& x, const at::Tensor& y, const at::Tensor& bias, const at::Tensor& gain,
                  const at::Tensor& shift, double eps, const std::optional<at::Tensor>& entry,
                  const std::optional<at::Tensor>& scale, std::int64_t rows) {
  std::optional<Reinjection> reinjection;
  if (entry && scale) reinjection = {*entry, *scale, rows};
  add_norm_by_aten(x, y, bias, {gain, shift, eps}, reinjection);
}

at::Tensor normalise(const at::Tensor& x, const NormVectors& norm) {
  return at::layer_norm(x, {x.size(1)}, norm.gain, norm.shift, norm.eps);
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(taesr, library) {
  library.def(
      "embed_norm(Tensor tokens, Tensor places, Tensor token, Tensor position, Tensor role, Tensor gain, Tensor shift, "
      "float eps) -> Tensor");
  library.def(
      "add_norm_(Tensor(a!) x, Tensor y, Tensor bias, Tensor gain, Tensor shift, float eps, Tensor? entry, "
      "Tensor? scale, int reinjected_rows) -> ()");
  library.def("segment_mean(Tensor x, Tensor offsets) -> Tensor");
}

TORCH_LIBRARY_IMPL(taesr, CompositeExplicitAutograd, library) {
  library.impl("embed_norm", &embed_norm_op);
  library.impl("add_norm_", &add_norm_op);
  library.impl("segment_mean", &segment_mean_by_aten);
}

at::Tensor embed_norm_by_aten(const at::Tensor& tokens, const at::Tensor& places, const at::Tensor& token,
                              const at::Tensor& position, const at::Tensor& role, const NormVectors& norm) {
  const auto rows = [](const at::Tensor& table, const at::Tensor& numbers) {
    return at::embedding(table, numbers).to(at::kFloat);
  };
  const auto sum = rows(token, tokens) + rows(position, places.bitwise_right_shift(1)) + rows(role, places.bitwise_and(1));
  return normalise(sum, norm).to(token.scalar_type());
}

void add_norm_by_aten(at::Tensor& x, const at::Tensor& y, const at::Tensor& bias, const NormVectors& norm,
                      const std::optional<Reinjection>& reinjection) {
  auto result = normalise(x.to(at::kFloat) + y.to(at::kFloat) + bias, norm);
  if (reinjection && reinjection->rows > 0) {
    const auto entry = reinjection->entry.narrow(0, 0, reinjection->rows).to(at::kFloat);
    result.narrow(0, 0, reinjection->rows).addcmul_(reinjection->scale, entry);
  }
  x.copy_(result);
}

at::Tensor segment_mean_by_aten(const at::Tensor& x, const at::Tensor& offsets) {
  const auto lengths = at::diff(offsets.to(at::kLong));
  return at::segment_reduce(x.to(at::kFloat), "mean", lengths, {}, {}, 0, /*unsafe=*/true, /*initial=*/0.0)
      .nan_to_num(0.0);  // the mean of no rows
}

at::Tensor embed_norm(const at::Tensor& tokens, const at::Tensor& places, const at::Tensor& token,
                      const at::Tensor& position, const at::Tensor& role, const NormVectors& norm) {
  static const auto op = find_operator<EmbedSignature>("taesr::embed_norm");
  return op.call(tokens, places, token, position, role, norm.gain, norm.shift, norm.eps);
}

void add_norm_(at::Tensor& x, const at::Tensor& y, const at::Tensor& bias, const NormVectors& norm,
               const std::optional<Reinjection>& reinjection) {
  static const auto op = find_operator<AddSignature>("taesr::add_norm_");
  if (!reinjection) return op.call(x, y, bias, norm.gain, norm.shift, norm.eps, {}, {}, 0);
  op.call(x, y, bias, norm.gain, norm.shift, norm.eps, reinjection->entry, reinjection->scale, reinjection->rows);
}

at::Tensor segment_mean(const at::Tensor& x, const at::Tensor& offsets) {
  static const auto op = find_operator<MeanSignature>("taesr::segment_mean");
  return op.call(x, offsets);
}

}  // namespace taesr
