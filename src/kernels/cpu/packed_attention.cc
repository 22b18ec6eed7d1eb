#include "kernels/packed_attention.h"

#include <algorithm>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/_flash_attention_forward.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <c10/core/InferenceMode.h>

namespace taesr {
namespace {

/// Queries [queries, heads, size], keys and values [tokens, heads, size] of one or more sequences.
struct Heads {
  at::Tensor query;
  at::Tensor key;
  at::Tensor value;
};

/// One sequence. Returns [queries, hidden].
at::Tensor attend(const Heads& x) {
  const auto batched = [](const at::Tensor& part) { return part.transpose(0, 1).unsqueeze(0); };
  return at::scaled_dot_product_attention(batched(x.query), batched(x.key), batched(x.value))
      .transpose(1, 2)  // [1, queries, heads, size]
      .reshape({x.query.size(0), -1});
}

/// All sequences of a span at once; CUDA, half precision. Returns [queries, hidden].
at::Tensor attend_fused(const Heads& x, const AttentionSpan& queries, const AttentionSpan& tokens) {
  const auto output = std::get<0>(at::_flash_attention_forward(
      x.query, x.key, x.value, queries.offsets, tokens.offsets, queries.longest, tokens.longest,
      /*dropout_p=*/0.0, /*is_causal=*/false, /*return_debug_mask=*/false));
  return output.reshape({x.query.size(0), -1});
}

bool has_fused_kernel(const at::Tensor& x, std::int64_t head_size) {
  const bool half = x.scalar_type() == at::kHalf || x.scalar_type() == at::kBFloat16;
  return x.is_cuda() && half && head_size % 8 == 0 && head_size <= 256;
}

std::vector<std::int64_t> sequence_sizes(const PackedLayout& layout) {
  std::vector<std::int64_t> sizes;
  for (std::size_t i = 1; i < layout.offsets.size(); ++i) sizes.push_back(layout.offsets[i] - layout.offsets[i - 1]);
  return sizes;
}

std::vector<std::int64_t> span_sizes(const PackedLayout& layout) {
  std::vector<std::int64_t> sizes;
  for (const AttentionSpan& span : layout.spans) {
    sizes.push_back(layout.offsets[static_cast<std::size_t>(span.last)] -
                    layout.offsets[static_cast<std::size_t>(span.first)]);
  }
  return sizes;
}

/// Rows cut into pieces. One split has one cheap derivative, where a slice each would make as many zero matrices.
std::vector<at::Tensor> cut(const at::Tensor& rows, const std::vector<std::int64_t>& sizes) {
  if (sizes.size() == 1) return {rows};
  return rows.split_with_sizes(sizes);
}

/// Sequence by sequence, several at once, without derivatives. `heads_of(i)` are those of sequence i.
template <class HeadsOf>
at::Tensor attend_in_parallel(const PackedLayout& queries, at::Tensor output, const HeadsOf& heads_of) {
  const bool inference = c10::InferenceMode::is_enabled();
  at::parallel_for(0, queries.sequences(), 1, [&](std::int64_t first, std::int64_t last) {
    const c10::InferenceMode mode(inference);  // this and grad mode are thread-local
    const at::NoGradGuard no_grad;
    for (auto i = static_cast<std::size_t>(first); i < static_cast<std::size_t>(last); ++i) {
      const std::int64_t length = queries.offsets[i + 1] - queries.offsets[i];
      if (length > 0) output.narrow(0, queries.offsets[i], length).copy_(attend(heads_of(i)));
    }
  });
  return output;
}

/// `split(sizes of queries, sizes of tokens)` cuts the rows into pieces: spans here, sequences there.
/// `sample` has the dtype, the device and the need for derivatives.
template <class Split>
at::Tensor attend_all(const PackedLayout& queries, const PackedLayout& tokens, const at::Tensor& sample,
                      std::int64_t head_size, const Split& split) {
  std::vector<at::Tensor> outputs;
  if (has_fused_kernel(sample, head_size)) {
    const auto pieces = split(span_sizes(queries), span_sizes(tokens));
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      if (pieces[i].query.size(0) == 0) continue;
      outputs.push_back(attend_fused(pieces[i], queries.spans[i], tokens.spans[i]));
    }
    return outputs.size() == 1 ? outputs.front() : at::cat(outputs);
  }
  const auto pieces = split(sequence_sizes(queries), sequence_sizes(tokens));
  const bool differentiated = at::GradMode::is_enabled() && sample.requires_grad();
  if (!differentiated && sample.is_cpu()) {
    const auto hidden = pieces.front().query.size(1) * head_size;
    return attend_in_parallel(queries, at::empty({queries.tokens(), hidden}, sample.options()),
                              [&](std::size_t i) -> const Heads& { return pieces[i]; });
  }
  for (const Heads& piece : pieces) {
    if (piece.query.size(0) > 0) outputs.push_back(attend(piece));
  }
  return at::cat(outputs);
}

bool has_windows(const PackedLayout& layout) {
  return std::any_of(layout.spans.begin(), layout.spans.end(), [](const auto& span) { return span.windows.has_value(); });
}

/// Each span by the kernel that suits its lengths; CUDA, half precision.
at::Tensor attend_spans(const at::Tensor& qkv, const PackedLayout& layout, std::int64_t heads) {
  const auto rows = cut(qkv, span_sizes(layout));
  std::vector<at::Tensor> outputs;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const AttentionSpan& span = layout.spans[i];
    if (span.windows) {
      outputs.push_back(windowed_attention(rows[i], *span.windows, span.windows->mask(qkv.scalar_type()), heads));
    } else {
      const auto parts = rows[i].view({rows[i].size(0), 3, heads, -1}).unbind(1);
      outputs.push_back(attend_fused({parts[0], parts[1], parts[2]}, span, span));
    }
  }
  return outputs.size() == 1 ? outputs.front() : at::cat(outputs);
}

}  // namespace

at::Tensor packed_attention(const at::Tensor& qkv, const PackedLayout& layout, std::int64_t heads) {
  if (has_windows(layout) && has_fused_kernel(qkv, qkv.size(1) / 3 / heads)) return attend_spans(qkv, layout, heads);
  const std::int64_t head_size = qkv.size(1) / 3 / heads;
  const auto split = [&](const std::vector<std::int64_t>& sizes, const std::vector<std::int64_t>&) {
    std::vector<Heads> pieces;
    for (const auto& rows : cut(qkv, sizes)) {
      const auto parts = rows.view({rows.size(0), 3, heads, head_size}).unbind(1);
      pieces.push_back({parts[0], parts[1], parts[2]});
    }
    return pieces;
  };
  return attend_all(layout, layout, qkv, head_size, split);
}

at::Tensor packed_attention(const at::Tensor& query, const PackedLayout& active, const at::Tensor& keys_values,
                            const PackedLayout& layout, std::int64_t heads) {
  const std::int64_t head_size = query.size(1) / heads;
  const auto split = [&](const std::vector<std::int64_t>& query_sizes, const std::vector<std::int64_t>& sizes) {
    const auto queries = cut(query, query_sizes);
    const auto rows = cut(keys_values, sizes);
    std::vector<Heads> pieces;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const auto parts = rows[i].view({rows[i].size(0), 2, heads, head_size}).unbind(1);
      pieces.push_back({queries[i].view({queries[i].size(0), heads, head_size}), parts[0], parts[1]});
    }
    return pieces;
  };
  return attend_all(active, layout, query, head_size, split);
}

}  // namespace taesr
