#include "engine/inference/general_int8.h"

#include <algorithm>
#include <vector>

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/addcmul.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>

#include "engine/inference/layer_program.h"
#include "kernels/cpu/int8/linear.h"
#include "kernels/packed_attention.h"
#include "model/pooling.h"

namespace taesr {
namespace {

// Rows that one thread multiplies at a time.
constexpr std::int64_t kBlockRows = 32;

/// x W^T + b. x float32 [rows, in] -> float32 [rows, out].
at::Tensor linear(const at::Tensor& x, const int8::PackedLinear& map) {
  const auto instructions = int8::best_instructions();
  const at::Tensor source = x.contiguous();
  at::Tensor y = at::empty({x.size(0), map.out}, x.options());
  const float* const from = source.const_data_ptr<float>();
  float* const to = y.mutable_data_ptr<float>();
  at::parallel_for(0, x.size(0), kBlockRows, [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t stride = int8::round_up(map.in, int8::kUnit);
    std::vector<std::uint8_t> values(static_cast<std::size_t>(kBlockRows * stride));
    float scale[kBlockRows];
    std::int32_t zero[kBlockRows];
    const int8::QuantisedRows block = {values.data(), stride, scale, zero};
    for (std::int64_t row = begin; row < end; row += kBlockRows) {
      const std::int64_t rows = std::min(kBlockRows, end - row);
      int8::quantise(instructions, from + row * map.in, rows, map.in, block);
      int8::linear(instructions, block, rows, map, to + row * map.out);
    }
  });
  return y;
}

class GeneralModel final : public InferenceModel {
  using Step = LayerStep<int8::PackedLinear>;

 public:
  GeneralModel(const TAESRConfig& config, const EncoderWeights& weights)
      : config_(config),
        layers_(config, weights),
        token_(weights.token),
        position_(weights.position.to(at::kFloat)),
        role_(weights.role.to(at::kFloat)),
        embedding_norm_(weights.embedding_norm, config.layer_norm_eps) {}

  at::ScalarType dtype() const override { return at::kFloat; }

  at::Tensor entry_states(const PackedBatch& batch) const override {
    batch.validate(config_);
    const PackedLayout layout(batch.offsets, at::kCPU);
    const auto token = token_.values.index_select(0, batch.tokens).to(at::kFloat) *
                       token_.scale.index_select(0, batch.tokens).unsqueeze(1);
    const auto sum = token + position_.index_select(0, layout.positions) +
                     role_.index_select(0, batch.roles.index_select(0, layout.sequence));
    const auto embedded = at::layer_norm(sum, {hidden()}, embedding_norm_.gain, embedding_norm_.shift, config_.layer_norm_eps);
    return apply(layers_.entry(), embedded, embedded, layout);
  }

  at::Tensor states_from_entry(const at::Tensor& entry, std::span<const std::int64_t> offsets, int recursions) const override {
    check_request(config_, entry, offsets, recursions);
    return apply(layers_.from_entry(recursions), entry, entry, PackedLayout({offsets.begin(), offsets.end()}, at::kCPU));
  }

  at::Tensor pooled_mean(const at::Tensor& states, std::span<const std::int64_t> offsets) const override {
    return taesr::pooled_mean(states, PackedLayout({offsets.begin(), offsets.end()}, at::kCPU));
  }

 private:
  [[nodiscard]] std::int64_t hidden() const { return config_.hidden_size; }

  [[nodiscard]] at::Tensor apply(std::span<const Step> program, at::Tensor x, const at::Tensor& entry,
                                 const PackedLayout& layout) const {
    for (const Step& step : program) {
      if (step.reinject) x = at::addcmul(x, vector(step.reinject), entry);
      const auto attended = packed_attention(linear(x, step.layer->qkv), layout, config_.num_attention_heads);
      x = add_norm(x, linear(attended, step.layer->out), step.attention_norm);
      x = add_norm(x, linear(at::gelu(linear(x, step.layer->up)), step.layer->down), step.mlp_norm);
    }
    return x;
  }

  [[nodiscard]] at::Tensor add_norm(const at::Tensor& x, const at::Tensor& y, const avx512::Norm& norm) const {
    return at::layer_norm(x + y, {hidden()}, vector(norm.gain), vector(norm.shift), norm.eps);
  }

  /// float32 [hidden] that layers_ owns.
  [[nodiscard]] at::Tensor vector(const float* values) const {
    return at::from_blob(const_cast<float*>(values), {hidden()}, at::kFloat);
  }

  TAESRConfig config_;
  PackedLayers<int8::PackedLinear> layers_;
  int8::Table token_;
  at::Tensor position_;
  at::Tensor role_;
  PackedNorm embedding_norm_;
};

}  // namespace

std::unique_ptr<const InferenceModel> create_general_int8(const TAESRConfig& config, const EncoderWeights& weights) {
  return std::make_unique<GeneralModel>(config, weights);
}

}  // namespace taesr
