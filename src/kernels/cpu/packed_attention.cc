#include "kernels/packed_attention.h"

#include <vector>

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/scaled_dot_product_attention.h>

namespace taesr {
namespace {

/// One sequence: rows [begin, end) of the packed batch. Returns [length, hidden].
at::Tensor attend(const at::Tensor& qkv, std::int64_t begin, std::int64_t end, std::int64_t heads) {
  const std::int64_t length = end - begin;
  const auto parts = qkv.narrow(0, begin, length).view({length, 3, heads, -1}).permute({1, 2, 0, 3}).unsqueeze(1);
  return at::scaled_dot_product_attention(parts[0], parts[1], parts[2])  // [1, heads, length, head_dim]
      .transpose(1, 2)
      .reshape({length, -1});
}

}  // namespace

at::Tensor packed_attention(const at::Tensor& qkv, std::span<const std::int64_t> offsets, std::int64_t heads) {
  const auto sequences = static_cast<std::int64_t>(offsets.size()) - 1;
  if (at::GradMode::is_enabled() && qkv.requires_grad()) {
    std::vector<at::Tensor> outputs;
    for (std::int64_t i = 0; i < sequences; ++i) outputs.push_back(attend(qkv, offsets[i], offsets[i + 1], heads));
    return at::cat(outputs);
  }
  at::Tensor output = at::empty({qkv.size(0), qkv.size(1) / 3}, qkv.options());
  at::parallel_for(0, sequences, 1, [&](std::int64_t first, std::int64_t last) {
    const at::NoGradGuard no_grad;  // grad mode is thread-local
    for (std::int64_t i = first; i < last; ++i) {
      output.narrow(0, offsets[i], offsets[i + 1] - offsets[i]).copy_(attend(qkv, offsets[i], offsets[i + 1], heads));
    }
  });
  return output;
}

}  // namespace taesr
