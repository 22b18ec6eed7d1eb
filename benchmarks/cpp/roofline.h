#pragma once

#include <chrono>
#include <cstdint>

#include <ATen/core/ScalarType.h>
#include <benchmark/benchmark.h>

namespace taesr {

/// Matrix product [m, k] x [k, n], as `at::linear` is given it.
struct ProductShape {
  std::int64_t m, k, n;
  [[nodiscard]] double operations() const {
    return 2.0 * static_cast<double>(m) * static_cast<double>(k) * static_cast<double>(n);
  }
};

/// The products of the model at a full batch, and a large square one.
inline constexpr ProductShape kRooflineShapes[] = {
    {8192, 384, 1152}, {8192, 384, 384}, {8192, 384, 1536}, {8192, 1536, 384}, {2048, 2048, 2048}};

/// Operations a second of the fastest of kRooflineShapes through ATen, medians compared.
[[nodiscard]] double roofline(at::ScalarType dtype);

/// What one iteration of a benchmark amounts to.
struct Work {
  double operations = 0;
  std::int64_t tokens = 0;
  at::ScalarType dtype = at::kFloat;
};

/// Reports FLOP/s, tokens a second and "roofline": the share of the machine's rate, which is measured again
/// right after, so that both figures saw the same load.
void report(benchmark::State& state, const Work& work, double seconds);

/// Times `call` and reports it.
template <typename Call>
void measure(benchmark::State& state, const Work& work, const Call& call) {
  const auto begin = std::chrono::steady_clock::now();
  for (auto _ : state) benchmark::DoNotOptimize(call());
  report(state, work, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
}

}  // namespace taesr
