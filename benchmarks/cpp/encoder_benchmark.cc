// Texts to vectors through the public interface, and the tokenizer alone.
#include <numeric>

#include "roofline.h"
#include "samples.h"

namespace taesr {
namespace {

/// Operations of the products and the attention of one text; the same sum as taesr.evaluation.flops.
double text_operations(const TAESRConfig& config, double tokens, int recursions) {
  const double hidden = config.hidden_size, inner = config.intermediate_size;
  const double layer = tokens * (8 * hidden * hidden + 4 * hidden * inner) + 4 * tokens * tokens * hidden;
  const int layers = config.entry_layers + recursions * config.shared_layers +
                     (recursions > 1 ? config.refinement_layers : 0) + config.exit_layers;
  return layers * layer + 2 * hidden * config.embedding_size;
}

void BM_Encode(benchmark::State& state, Precision precision, Role role) {
  const Encoder& encoder = sample_encoder(precision);
  const auto depth = static_cast<int>(state.range(1));
  const auto texts = role == Role::kQuery ? std::vector<std::string>{sample_query()}
                                          : sample_passages(static_cast<std::size_t>(state.range(0)), encoder.tokenizer());
  const EncodeOptions options{.role = role, .depth = std::to_string(depth)};
  const auto counts = encoder.encode(texts, options).token_counts;
  double operations = 0;
  for (const std::size_t count : counts) {
    operations += text_operations(encoder.config(), static_cast<double>(count) + 2, depth);
  }
  const auto tokens = static_cast<std::int64_t>(std::accumulate(counts.begin(), counts.end(), 2 * counts.size()));
  // ATen has no product in int8 to compare with: its share of the roofline is bfloat16's, and may pass 1.
  const auto dtype = precision == Precision::kFloat32 ? at::kFloat : at::kBFloat16;
  measure(state, {operations, tokens, dtype}, [&] { return encoder.encode(texts, options); });
}

void query(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"texts", "depth"})->Unit(benchmark::kMicrosecond)->UseRealTime();
  for (const int depth : {1, 3, 6}) benchmark->Args({1, depth});
}

void passages(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgNames({"texts", "depth"})->Unit(benchmark::kMillisecond)->UseRealTime();
  for (const int depth : {1, 3, 6}) benchmark->Args({45, depth});
}

BENCHMARK_CAPTURE(BM_Encode, query_bfloat16, Precision::kBFloat16, Role::kQuery)->Apply(query);
BENCHMARK_CAPTURE(BM_Encode, query_int8, Precision::kInt8, Role::kQuery)->Apply(query);
BENCHMARK_CAPTURE(BM_Encode, query_float32, Precision::kFloat32, Role::kQuery)->Apply(query);
BENCHMARK_CAPTURE(BM_Encode, passages_bfloat16, Precision::kBFloat16, Role::kPassage)->Apply(passages);
BENCHMARK_CAPTURE(BM_Encode, passages_int8, Precision::kInt8, Role::kPassage)->Apply(passages);
BENCHMARK_CAPTURE(BM_Encode, passages_float32, Precision::kFloat32, Role::kPassage)->Apply(passages);

void BM_Tokenize(benchmark::State& state, bool is_query) {
  const Tokenizer& tokenizer = sample_encoder(Precision::kFloat32).tokenizer();
  const std::string text = is_query ? sample_query() : sample_passages(1, tokenizer).front();
  std::size_t tokens = 0;
  for (auto _ : state) tokens += tokenizer.encode(text).size();
  state.SetItemsProcessed(static_cast<std::int64_t>(tokens));
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(text.size()));
}

BENCHMARK_CAPTURE(BM_Tokenize, query, true)->Unit(benchmark::kMicrosecond);
BENCHMARK_CAPTURE(BM_Tokenize, passage, false)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace taesr
