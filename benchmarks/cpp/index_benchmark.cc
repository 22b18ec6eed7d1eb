// Nearest neighbours of one query, on one thread: all vectors compared, and through the graph.
#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <vector>

#include <benchmark/benchmark.h>

#include "index/hnsw_index.h"
#include "index/vector_table.h"

namespace taesr {
namespace {

constexpr std::size_t kDimension = 384;
constexpr std::size_t kTopics = 200;
constexpr std::size_t kQueries = 64;
constexpr std::size_t kNearest = 10;
constexpr float kSpread = 0.05F;  // of values around their topic's, which are about 0.05 themselves

/// Unit vectors around random topics: embeddings of texts cluster too.
class Vectors {
 public:
  Vectors() : topics_(kTopics) {
    for (auto& topic : topics_) topic = unit(std::vector<float>(kDimension), 1.0F);
  }

  std::vector<float> next() { return unit(topics_[random_() % kTopics], kSpread); }

 private:
  std::vector<float> unit(std::vector<float> centre, float spread) {
    float square = 0;
    for (float& value : centre) {
      value += spread * normal_(random_);
      square += value * value;
    }
    for (float& value : centre) value /= std::sqrt(square);
    return centre;
  }

  std::mt19937 random_{1};
  std::normal_distribution<float> normal_;
  std::vector<std::vector<float>> topics_;
};

struct Corpus {
  explicit Corpus(std::size_t rows) {
    Vectors vectors;
    for (std::size_t i = 1; i <= rows; ++i) {
      const auto vector = vectors.next();
      table.append(static_cast<std::int64_t>(i), vector);
      index.append(static_cast<std::int64_t>(i), vector);
    }
    index.link();
    for (std::size_t i = 0; i < kQueries; ++i) queries.push_back(vectors.next());
  }

  VectorTable table{kDimension};
  HnswIndex index{kDimension};
  std::vector<std::vector<float>> queries;
};

/// Made once for each size: linking takes seconds.
const Corpus& corpus(benchmark::State& state) {
  static std::map<std::int64_t, std::unique_ptr<Corpus>> made;
  auto& found = made[state.range(0)];
  if (!found) found = std::make_unique<Corpus>(static_cast<std::size_t>(state.range(0)));
  return *found;
}

void BM_ExactSearch(benchmark::State& state) {
  const Corpus& data = corpus(state);
  std::size_t i = 0;
  for (auto _ : state) benchmark::DoNotOptimize(data.table.nearest(data.queries[i++ % kQueries], kNearest, nullptr));
  state.SetItemsProcessed(state.iterations());
}

/// Share of the true nearest that the graph finds.
double recall(const Corpus& data) {
  std::size_t found = 0;
  for (const auto& query : data.queries) {
    std::set<std::int64_t> truth;
    for (const auto& candidate : data.table.nearest(query, kNearest, nullptr)) truth.insert(candidate.chunk);
    for (const auto& candidate : data.index.search(query, kNearest)) found += truth.count(candidate.chunk);
  }
  return static_cast<double>(found) / static_cast<double>(kQueries * kNearest);
}

void BM_GraphSearch(benchmark::State& state) {
  const Corpus& data = corpus(state);
  std::size_t i = 0;
  for (auto _ : state) benchmark::DoNotOptimize(data.index.search(data.queries[i++ % kQueries], kNearest));
  state.SetItemsProcessed(state.iterations());
  state.counters["recall@10"] = recall(data);
}

void sizes(benchmark::internal::Benchmark* benchmark) {
  benchmark->ArgName("vectors")->Unit(benchmark::kMicrosecond);
}

BENCHMARK(BM_ExactSearch)->Apply(sizes)->Arg(2'000)->Arg(20'000);
BENCHMARK(BM_GraphSearch)->Apply(sizes)->Arg(20'000);

}  // namespace
}  // namespace taesr
