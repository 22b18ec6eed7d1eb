// Micro-benchmarks of libtaesr. Takes Google Benchmark's options; TAESR_MODEL names another model folder,
// OMP_NUM_THREADS the threads.
#include <cstdio>
#include <cstdlib>
#include <string>

#include <ATen/Parallel.h>
#include <benchmark/benchmark.h>

#include "core/cpu.h"
#include "roofline.h"

namespace {

std::string billions(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.0f GFLOP/s", value / 1e9);
  return text;
}

}  // namespace

int main(int argc, char** argv) {
  const char* chosen = std::getenv("TAESR_MODEL");
  if (chosen == nullptr || *chosen == '\0') ::setenv("TAESR_MODEL", TAESR_BENCHMARK_MODEL, /*overwrite=*/1);
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::AddCustomContext("model", std::getenv("TAESR_MODEL"));
  benchmark::AddCustomContext("threads", std::to_string(at::get_num_threads()));
  benchmark::AddCustomContext("bfloat16_instructions", taesr::cpu_multiplies_bfloat16() ? "yes" : "no");
  benchmark::AddCustomContext("roofline_bfloat16", billions(taesr::roofline(at::kBFloat16)));
  benchmark::AddCustomContext("roofline_float32", billions(taesr::roofline(at::kFloat)));
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}
