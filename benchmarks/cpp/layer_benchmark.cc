// The parts of a layer and the whole, on sequences of one length: ten tokens is a short query.
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>

#include "kernels/fused.h"
#include "kernels/packed_attention.h"
#include "model/layer.h"
#include "roofline.h"
#include "samples.h"

namespace taesr {
namespace {

constexpr std::int64_t kHidden = 384;
constexpr std::int64_t kInner = 1536;
constexpr std::int64_t kHeads = 12;
constexpr double kEps = 1e-12;

at::Tensor random(at::IntArrayRef sizes, at::ScalarType dtype) {
  return (at::randn(sizes) / std::sqrt(static_cast<double>(sizes.back()))).to(dtype);
}

Affine product(std::int64_t out, std::int64_t in, at::ScalarType dtype) {
  return {random({out, in}, dtype), at::zeros({out}, dtype)};
}

Affine norm(at::ScalarType dtype) { return {at::ones({kHidden}, dtype), at::zeros({kHidden}, dtype)}; }

/// Operations of attention: queries by keys, and weights by values.
double attention_operations(double sequences, double length) { return 4 * sequences * length * length * kHidden; }

double product_operations(double tokens, double out, double in) { return 2 * tokens * out * in; }

void BM_PackedAttention(benchmark::State& state, at::ScalarType dtype) {
  const at::NoGradGuard no_grad;
  const auto sequences = state.range(0), length = state.range(1);
  const PackedLayout layout(even_offsets(sequences, length), at::kCPU);
  const auto qkv = at::randn({layout.tokens(), 3 * kHidden}).to(dtype);
  const double operations = attention_operations(static_cast<double>(sequences), static_cast<double>(length));
  measure(state, {operations, layout.tokens(), dtype}, [&] { return packed_attention(qkv, layout, kHeads); });
}

void BM_LinearGelu(benchmark::State& state, at::ScalarType dtype) {
  const at::NoGradGuard no_grad;
  const auto tokens = state.range(0) * state.range(1);
  const auto x = at::randn({tokens, kHidden}).to(dtype);
  const auto up = product(kInner, kHidden, dtype);
  const double operations = product_operations(static_cast<double>(tokens), kInner, kHidden);
  measure(state, {operations, tokens, dtype}, [&] { return linear_gelu(x, up.weight, up.bias); });
}

void BM_LinearAddNorm(benchmark::State& state, at::ScalarType dtype) {
  const at::NoGradGuard no_grad;
  const auto tokens = state.range(0) * state.range(1);
  const auto residual = at::randn({tokens, kHidden}).to(dtype);
  const auto x = at::randn({tokens, kInner}).to(dtype);
  const auto down = product(kHidden, kInner, dtype);
  const Affine norms = norm(dtype);
  const double operations = product_operations(static_cast<double>(tokens), kHidden, kInner);
  measure(state, {operations, tokens, dtype}, [&] {
    return linear_add_norm(residual, x, down.weight, down.bias, norms.weight, norms.bias, kEps);
  });
}

void BM_Layer(benchmark::State& state, at::ScalarType dtype) {
  const at::NoGradGuard no_grad;
  const auto sequences = state.range(0), length = state.range(1);
  const PackedLayout layout(even_offsets(sequences, length), at::kCPU);
  const auto x = at::randn({layout.tokens(), kHidden}).to(dtype);
  const LayerWeights weights{product(3 * kHidden, kHidden, dtype), product(kHidden, kHidden, dtype),
                             product(kInner, kHidden, dtype), product(kHidden, kInner, dtype)};
  const LayerNorms norms{norm(dtype), norm(dtype)};
  const auto tokens = static_cast<double>(layout.tokens());
  const double operations = product_operations(tokens, 4 * kHidden + 2 * kInner, kHidden) +
                            attention_operations(static_cast<double>(sequences), static_cast<double>(length));
  measure(state, {operations, layout.tokens(), dtype},
          [&] { return apply_layer(x, weights, norms, layout, {kHeads, kEps, false}); });
}

void batches(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"sequences", "tokens"})->Unit(benchmark::kMicrosecond)->UseRealTime();
  benchmark->Args({1, 10})->Args({256, 10})->Args({1, kPassageTokens})->Args({45, kPassageTokens});
}

BENCHMARK_CAPTURE(BM_PackedAttention, bfloat16, at::kBFloat16)->Apply(batches);
BENCHMARK_CAPTURE(BM_PackedAttention, float32, at::kFloat)->Apply(batches);
BENCHMARK_CAPTURE(BM_LinearGelu, bfloat16, at::kBFloat16)->Apply(batches);
BENCHMARK_CAPTURE(BM_LinearGelu, float32, at::kFloat)->Apply(batches);
BENCHMARK_CAPTURE(BM_LinearAddNorm, bfloat16, at::kBFloat16)->Apply(batches);
BENCHMARK_CAPTURE(BM_LinearAddNorm, float32, at::kFloat)->Apply(batches);
BENCHMARK_CAPTURE(BM_Layer, bfloat16, at::kBFloat16)->Apply(batches);
BENCHMARK_CAPTURE(BM_Layer, float32, at::kFloat)->Apply(batches);

}  // namespace
}  // namespace taesr
