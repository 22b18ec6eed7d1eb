// SPLADE pooling over the whole vocabulary, as the sparse head asks for it.
#include <cmath>

#include <ATen/TensorOperators.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/full.h>
#include <ATen/ops/randn.h>

#include "kernels/sparse_pool.h"
#include "roofline.h"
#include "samples.h"

namespace taesr {
namespace {

constexpr std::int64_t kHidden = 384;
constexpr std::int64_t kVocabulary = 22000;
// Logits of unit spread; this far below zero about one in two thousand is positive, as in a trained head.
constexpr double kBias = -3.3;

void BM_SparsePool(benchmark::State& state, at::ScalarType dtype) {
  const at::NoGradGuard no_grad;
  const auto offsets = even_offsets(state.range(0), state.range(1));
  const auto states = at::randn({offsets.back(), kHidden}).to(dtype);
  const auto table = (at::randn({kVocabulary, kHidden}) / std::sqrt(static_cast<double>(kHidden))).to(dtype);
  const auto bias = at::full({kVocabulary}, kBias);
  const double operations = 2.0 * static_cast<double>(offsets.back() * kHidden * kVocabulary);
  measure(state, {operations, offsets.back(), dtype},
          [&] { return sparse_pool_rows(states, table, bias, offsets, 256); });
}

void batches(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"sequences", "tokens"})->Unit(benchmark::kMillisecond)->UseRealTime();
  benchmark->Args({1, 10})->Args({45, kPassageTokens});
}

BENCHMARK_CAPTURE(BM_SparsePool, bfloat16, at::kBFloat16)->Apply(batches);
BENCHMARK_CAPTURE(BM_SparsePool, float32, at::kFloat)->Apply(batches);

}  // namespace
}  // namespace taesr
