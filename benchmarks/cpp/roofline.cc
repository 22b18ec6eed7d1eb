#include "roofline.h"

#include <algorithm>
#include <array>
#include <map>

#include <ATen/core/Tensor.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/randn.h>

namespace taesr {
namespace {

constexpr int kRepetitions = 5;

/// One product with its operands: making them takes longer than multiplying them.
class Product {
 public:
  Product(const ProductShape& shape, at::ScalarType dtype)
      : shape_(shape),
        x_(at::randn({shape.m, shape.k}).to(dtype)),
        weight_(at::randn({shape.n, shape.k}).to(dtype)) {
    benchmark::DoNotOptimize(at::linear(x_, weight_));  // warm
  }

  /// Operations a second, the median of kRepetitions.
  [[nodiscard]] double rate() const {
    const at::NoGradGuard no_grad;
    std::array<double, kRepetitions> rates{};
    for (double& rate : rates) {
      const auto begin = std::chrono::steady_clock::now();
      benchmark::DoNotOptimize(at::linear(x_, weight_));
      const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
      rate = shape_.operations() / seconds.count();
    }
    std::nth_element(rates.begin(), rates.begin() + kRepetitions / 2, rates.end());
    return rates[kRepetitions / 2];
  }

 private:
  ProductShape shape_;
  at::Tensor x_, weight_;
};

Product fastest(at::ScalarType dtype) {
  double best = 0;
  ProductShape chosen = kRooflineShapes[0];
  for (const ProductShape& shape : kRooflineShapes) {
    const double rate = Product(shape, dtype).rate();
    if (rate <= best) continue;
    best = rate;
    chosen = shape;
  }
  return {chosen, dtype};
}

}  // namespace

double roofline(at::ScalarType dtype) {
  static std::map<at::ScalarType, Product> known;
  auto found = known.find(dtype);
  if (found == known.end()) found = known.emplace(dtype, fastest(dtype)).first;
  return found->second.rate();
}

void report(benchmark::State& state, const Work& work, double seconds) {
  const double rate = work.operations * static_cast<double>(state.iterations()) / seconds;
  state.SetItemsProcessed(state.iterations() * work.tokens);
  state.counters["GFLOP/s"] = rate / 1e9;
  state.counters["roofline"] = rate / roofline(work.dtype);
}

}  // namespace taesr
