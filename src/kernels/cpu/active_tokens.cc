#include "kernels/active_tokens.h"

#include <torch/library.h>

#include <algorithm>
#include <numeric>
#include <tuple>
#include <vector>

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>

#include "kernels/dispatch.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

std::tuple<at::Tensor, at::Tensor> active_rows_cpu(const at::Tensor& mask, const at::Tensor& offsets) {
  const auto flags = mask.contiguous();
  const auto borders = offsets.contiguous();
  auto rows = at::full({flags.size(0)}, -1, borders.options());
  auto active_offsets = at::empty_like(borders);
  const bool* flag = flags.const_data_ptr<bool>();
  const auto* border = borders.const_data_ptr<std::int64_t>();
  auto* row = rows.mutable_data_ptr<std::int64_t>();
  auto* active = active_offsets.mutable_data_ptr<std::int64_t>();
  std::int64_t count = 0;
  active[0] = 0;
  for (std::int64_t i = 0; i + 1 < borders.size(0); ++i) {
    for (std::int64_t token = border[i]; token < border[i + 1]; ++token) {
      if (flag[token]) row[count++] = token;
    }
    active[i + 1] = count;
  }
  return {rows, active_offsets};
}

at::Tensor best_rows_cpu(const at::Tensor& scores, const std::optional<at::Tensor>& going, const at::Tensor& offsets,
                         const at::Tensor& kept_offsets, std::int64_t kept) {
  const auto values = scores.contiguous();
  const auto flags = going ? going->contiguous() : at::Tensor();
  const auto borders = offsets.contiguous();
  const auto kept_borders = kept_offsets.contiguous();
  const float* score = values.const_data_ptr<float>();
  const bool* flag = flags.defined() ? flags.const_data_ptr<bool>() : nullptr;
  const auto* border = borders.const_data_ptr<std::int64_t>();
  const auto* kept_border = kept_borders.const_data_ptr<std::int64_t>();
  if (kept_border[borders.size(0) - 1] != kept) throw InvalidArgument("kept is not the last of kept_offsets");
  auto rows = at::empty({kept}, borders.options());
  auto* row = rows.mutable_data_ptr<std::int64_t>();
  const auto higher = [&](std::int64_t a, std::int64_t b) {
    const auto rank = [&](std::int64_t i) { return flag != nullptr && !flag[i] ? 0 : score[i] != score[i] ? 1 : 2; };
    return rank(a) != rank(b) ? rank(a) > rank(b) : rank(a) == 2 && score[a] > score[b];
  };
  for (std::int64_t i = 0; i + 1 < borders.size(0); ++i) {
    std::vector<std::int64_t> order(static_cast<std::size_t>(border[i + 1] - border[i]));
    std::iota(order.begin(), order.end(), border[i]);
    std::stable_sort(order.begin(), order.end(), higher);
    const auto count = kept_border[i + 1] - kept_border[i];
    if (count > border[i + 1] - border[i]) throw InvalidArgument("a sequence keeps more tokens than it has");
    std::sort(order.begin(), order.begin() + count);
    std::copy_n(order.begin(), count, row + kept_border[i]);
  }
  return rows;
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(taesr, library) {
  library.def("active_rows(Tensor mask, Tensor offsets) -> (Tensor, Tensor)");
  library.def("best_rows(Tensor scores, Tensor? going, Tensor offsets, Tensor kept_offsets, int kept) -> Tensor");
}

TORCH_LIBRARY_IMPL(taesr, CPU, library) {
  library.impl("active_rows", &active_rows_cpu);
  library.impl("best_rows", &best_rows_cpu);
}

ActiveRows active_rows(const at::Tensor& mask, const at::Tensor& offsets) {
  using Signature = std::tuple<at::Tensor, at::Tensor>(const at::Tensor&, const at::Tensor&);
  static const auto op = find_operator<Signature>("taesr::active_rows");
  auto [rows, active_offsets] = op.call(mask, offsets);
  return {std::move(rows), std::move(active_offsets)};
}

at::Tensor best_rows(const at::Tensor& scores, const std::optional<at::Tensor>& going, const at::Tensor& offsets,
                     const at::Tensor& kept_offsets, std::int64_t kept) {
  using Signature = at::Tensor(const at::Tensor&, const std::optional<at::Tensor>&, const at::Tensor&, const at::Tensor&,
                               std::int64_t);
  static const auto op = find_operator<Signature>("taesr::best_rows");
  return op.call(scores, going, offsets, kept_offsets, kept);
}

}  // namespace taesr
