#include "model/forward.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/repeat_interleave.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>

#include "kernels/packed_attention.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

/// Everything that the layers need beside their weights.
struct Context {
  const TAESRConfig& config;
  const PackedBatch& batch;
};

at::Tensor linear(const at::Tensor& x, const Affine& affine) { return at::linear(x, affine.weight, affine.bias); }

at::Tensor norm(const at::Tensor& x, const Affine& affine, const Context& context) {
  return at::layer_norm(x, {context.config.hidden_size}, affine.weight, affine.bias, context.config.layer_norm_eps);
}

/// One post-norm BERT block (Devlin et al. 2019). x [T, hidden] -> [T, hidden].
at::Tensor layer(at::Tensor x, const LayerWeights& weights, const LayerNorms& norms, const Context& context) {
  const auto attended =
      packed_attention(linear(x, weights.qkv), context.batch.offsets, context.config.num_attention_heads);
  x = norm(x + linear(attended, weights.out), norms.attention, context);
  return norm(x + linear(at::gelu(linear(x, weights.up)), weights.down), norms.mlp, context);
}

/// Index of each token's sequence [T].
at::Tensor sequence_of_token(const PackedBatch& batch, at::Tensor lengths) {
  return at::repeat_interleave(at::arange(batch.sequences(), lengths.options()), lengths, 0, batch.tokens.size(0));
}

at::Tensor embed(const EncoderWeights& weights, const Context& context, const at::Tensor& sequence) {
  const auto options = context.batch.tokens.options();
  const auto starts = at::tensor(context.batch.offsets, options.device(at::kCPU)).to(options.device());
  const auto positions = at::arange(context.batch.tokens.size(0), options) - starts.index_select(0, sequence);
  const auto x = at::embedding(weights.token, context.batch.tokens) + at::embedding(weights.position, positions) +
                 at::embedding(weights.role, context.batch.roles.index_select(0, sequence));
  return norm(x, weights.embedding_norm, context);
}

/// Mean over each sequence's tokens in float32, head, unit length.
at::Tensor pool(const at::Tensor& hidden, const EncoderWeights& weights, const at::Tensor& sequence,
                const at::Tensor& lengths) {
  const auto sums = at::zeros({lengths.size(0), hidden.size(1)}, hidden.options().dtype(at::kFloat))
                        .index_add(0, sequence, hidden.to(at::kFloat));
  const auto mean = sums / lengths.to(at::kFloat).unsqueeze(1);
  const auto projected = at::linear(mean, weights.head.weight.to(at::kFloat), weights.head.bias.to(at::kFloat));
  return projected / projected.norm(2, 1, true).clamp_min(1e-12);
}

}  // namespace

void PackedBatch::validate(const TAESRConfig& config) const {
  if (offsets.size() < 2 || offsets.front() != 0 || offsets.back() != tokens.size(0)) {
    throw InvalidArgument("offsets must start with 0 and end with the number of tokens, " +
                          std::to_string(tokens.size(0)));
  }
  for (std::size_t i = 1; i < offsets.size(); ++i) {
    const std::int64_t length = offsets[i] - offsets[i - 1];
    if (length >= 1 && length <= config.max_position_embeddings) continue;
    throw InvalidArgument("sequence " + std::to_string(i - 1) + " has " + std::to_string(length) +
                          " tokens; allowed: 1 to " + std::to_string(config.max_position_embeddings));
  }
  if (roles.size(0) != sequences()) {
    throw InvalidArgument("there are " + std::to_string(roles.size(0)) + " roles for " + std::to_string(sequences()) +
                          " sequences");
  }
  const auto check = [](const char* what, const at::Tensor& ids, std::int64_t end) {
    const auto low = ids.min().item<std::int64_t>();
    const auto high = ids.max().item<std::int64_t>();
    if (low >= 0 && high < end) return;
    throw InvalidArgument(std::string(what) + " from " + std::to_string(low) + " to " + std::to_string(high) +
                          "; allowed: 0 to " + std::to_string(end - 1));
  };
  check("token ids", tokens, config.vocab_size);
  check("roles", roles, 2);
}

EncoderOutput encoder_forward(const TAESRConfig& config, const EncoderWeights& weights, const PackedBatch& batch,
                              int recursions) {
  const Context context{config, batch};
  const auto offsets = at::tensor(batch.offsets, batch.tokens.options().device(at::kCPU)).to(batch.tokens.device());
  const auto lengths = offsets.diff();
  const auto sequence = sequence_of_token(batch, lengths);

  const auto entry = layer(embed(weights, context, sequence), weights.entry, weights.entry_norms, context);
  auto x = entry;
  for (int r = 0; r < recursions; ++r) {
    if (r > 0) x = x + weights.reinject[r] * entry;
    for (std::size_t k = 0; k < weights.shared.size(); ++k) {
      x = layer(x, weights.shared[k], weights.shared_norms[k][static_cast<std::size_t>(r)], context);
    }
  }
  x = layer(x, weights.exit, weights.exit_norms, context);
  return {x, pool(x, weights, sequence, lengths)};
}

}  // namespace taesr
