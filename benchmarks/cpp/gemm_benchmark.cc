// The machine's own rate: what every other figure is a share of.
#include <ATen/core/grad_mode.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/randn.h>

#include "roofline.h"

namespace taesr {
namespace {

void BM_Product(benchmark::State& state, at::ScalarType dtype) {
  const at::NoGradGuard no_grad;
  const ProductShape shape{state.range(0), state.range(1), state.range(2)};
  const auto x = at::randn({shape.m, shape.k}).to(dtype);
  const auto weight = at::randn({shape.n, shape.k}).to(dtype);
  measure(state, {shape.operations(), shape.m, dtype}, [&] { return at::linear(x, weight); });
}

void shapes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"m", "k", "n"})->Unit(benchmark::kMillisecond)->UseRealTime();
  for (const auto& [m, k, n] : kRooflineShapes) benchmark->Args({m, k, n});
}

BENCHMARK_CAPTURE(BM_Product, bfloat16, at::kBFloat16)->Apply(shapes);
BENCHMARK_CAPTURE(BM_Product, float32, at::kFloat)->Apply(shapes);

}  // namespace
}  // namespace taesr
