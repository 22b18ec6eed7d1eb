#include "engine/inference/avx512_model.h"

#include <algorithm>
#include <utility>
#include <vector>

#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>

#include "core/cpu.h"
#include "engine/inference/layer_program.h"
#include "engine/inference/team.h"
#include "engine/inference/workspace.h"
#include "kernels/cpu/avx512/attention.h"
#include "kernels/cpu/avx512/int8.h"

namespace taesr {
namespace {

using avx512::Rows;
using Offsets = std::span<const std::int64_t>;

// Rows that pass a layer's products together: few enough for their states to stay in the second cache beside
// a panel of weights, enough to pay for fetching the weights.
constexpr std::int64_t kBlockRows = 72;

// Tokens that one thread takes through all layers.
constexpr std::int64_t kTaskTokens = 192;

// Where there are fewer tasks than this for each thread, the threads share every layer instead: waiting for
// each other a few times a layer costs less than waiting for the last task.
constexpr std::int64_t kTasksPerThread = 4;

// Rows for each thread that are worth waking the others.
constexpr std::int64_t kRowsPerThread = 4;

std::size_t product(std::int64_t a, std::int64_t b) { return static_cast<std::size_t>(a) * static_cast<std::size_t>(b); }

/// Runs of neighbouring sequences of about kTaskTokens: borders, as indices of sequences.
std::vector<std::size_t> task_borders(Offsets offsets) {
  std::vector<std::size_t> borders = {0};
  for (std::size_t i = 1; i + 1 < offsets.size(); ++i) {
    if (offsets[i + 1] - offsets[borders.back()] > kTaskTokens) borders.push_back(i);
  }
  borders.push_back(offsets.size() - 1);
  return borders;
}

/// Products in the dtype of the states.
template <class E>
struct SameProducts {
  using State = E;
  using Linear = avx512::PackedLinear<E>;

  /// Bytes of `input`.
  static std::size_t input_bytes(std::int64_t, std::int64_t) { return 0; }
  /// Rows of states as the products want them.
  static Rows<const E> input(Rows<const E> x, std::int64_t, std::int64_t, void*) { return x; }

  struct Table {
    explicit Table(const at::Tensor& table) : rows(table.to(c10::CppTypeToScalarType<E>::value).contiguous()) {}
    [[nodiscard]] const E* row(std::int64_t i, E*) const { return rows.const_data_ptr<E>() + i * rows.size(1); }

    at::Tensor rows;
  };
};

/// Products of 8 bits between states of type E.
template <class E>
struct Int8Products {
  using State = E;
  using Linear = int8::PackedLinear;

  static std::size_t input_bytes(std::int64_t rows, std::int64_t width) {
    const auto count = static_cast<std::size_t>(rows);
    return Carver::bytes<std::uint8_t>(product(rows, width)) + Carver::bytes<float>(count) + Carver::bytes<std::int32_t>(count);
  }
  static int8::QuantisedRows input(Rows<const E> x, std::int64_t rows, std::int64_t width, void* memory) {
    Carver carver(memory);
    const auto count = static_cast<std::size_t>(rows);
    const int8::QuantisedRows quantised = {carver.take<std::uint8_t>(product(rows, width)), width,
                                           carver.take<float>(count), carver.take<std::int32_t>(count)};
    avx512::quantise(x, rows, width, quantised);
    return quantised;
  }

  struct Table : int8::Table {
    using int8::Table::Table;
    [[nodiscard]] const E* row(std::int64_t i, E* memory) const {
      const std::int64_t width = values.size(1);
      avx512::scale_row(values.const_data_ptr<std::int8_t>() + i * width, scale.const_data_ptr<float>()[i], width, memory);
      return memory;
    }
  };
};

template <class Products>
class Model final : public InferenceModel {
  using E = typename Products::State;
  using Step = LayerStep<typename Products::Linear>;

 public:
  Model(const TAESRConfig& config, const EncoderWeights& weights)
      : config_(config),
        layers_(config, weights),
        token_(weights.token),
        position_(weights.position),
        role_(weights.role),
        embedding_norm_(weights.embedding_norm, config.layer_norm_eps) {}

  at::ScalarType dtype() const override { return c10::CppTypeToScalarType<E>::value; }

  at::Tensor entry_states(const PackedBatch& batch) const override {
    batch.validate(config_);
    at::Tensor states = at::empty({batch.tokens.size(0), hidden()}, position_.rows.options());
    const Rows<E> x = rows_of(states);
    const at::Tensor tokens = batch.tokens.contiguous();
    const at::Tensor roles = batch.roles.contiguous();
    run(batch.offsets, [&](const Team& team, Offsets offsets, std::size_t first) {
      embed(team, tokens.const_data_ptr<std::int64_t>(), roles.const_data_ptr<std::int64_t>() + first, offsets, x);
      apply(team, layers_.entry(), offsets, x.from(offsets.front()), {});
    });
    return states;
  }

  at::Tensor states_from_entry(const at::Tensor& entry, Offsets all, int recursions) const override {
    check_request(config_, entry, all, recursions);
    const at::Tensor source = entry.contiguous();
    at::Tensor states = at::empty_like(source);
    const Rows<E> from = {const_cast<E*>(source.const_data_ptr<E>()), hidden()};
    const Rows<E> x = rows_of(states);
    run(all, [&](const Team& team, Offsets offsets, std::size_t) {
      const std::int64_t begin = offsets.front();
      std::copy(from.row(begin), from.row(offsets.back()), x.row(begin));
      apply(team, layers_.from_entry(recursions), offsets, x.from(begin), from.from(begin));
    });
    return states;
  }

  at::Tensor pooled_mean(const at::Tensor& states, Offsets offsets) const override {
    const auto count = static_cast<std::int64_t>(offsets.size()) - 1;
    at::Tensor pooled = at::empty({count, hidden()}, states.options().dtype(at::kFloat));
    const E* x = states.const_data_ptr<E>();
    float* mean = pooled.mutable_data_ptr<float>();
    const Team team = offsets.back() > kTaskTokens ? Team::of_pool() : Team{};
    team.for_each(count, [&](std::int64_t i) {
      const std::int64_t begin = offsets[static_cast<std::size_t>(i)];
      const std::int64_t end = offsets[static_cast<std::size_t>(i) + 1];
      avx512::mean_row<E>({const_cast<E*>(x) + begin * hidden(), hidden()}, end - begin, hidden(), mean + i * hidden());
    });
    return pooled;
  }

 private:
  [[nodiscard]] std::int64_t hidden() const { return config_.hidden_size; }
  [[nodiscard]] Rows<E> rows_of(at::Tensor& states) const { return {states.mutable_data_ptr<E>(), hidden()}; }

  /// pass(team, offsets of a part of the sequences, the first of them), until all sequences are through.
  template <class Pass>
  void run(Offsets offsets, const Pass& pass) const {
    const Team pool = Team::of_pool();
    const std::int64_t tokens = offsets.back();
    if (pool.threads == 1 || tokens < kRowsPerThread * pool.threads) return pass(Team{}, offsets, 0);
    if (tokens < kTasksPerThread * kTaskTokens * pool.threads) return pass(pool, offsets, 0);
    const auto borders = task_borders(offsets);
    pool.for_each(static_cast<std::int64_t>(borders.size()) - 1, [&](std::int64_t task) {
      const std::size_t first = borders[static_cast<std::size_t>(task)];
      const std::size_t last = borders[static_cast<std::size_t>(task) + 1];
      pass(Team{}, offsets.subspan(first, last - first + 1), first);
    });
  }

  void embed(const Team& team, const std::int64_t* tokens, const std::int64_t* roles, Offsets offsets, Rows<E> x) const {
    team.for_each(static_cast<std::int64_t>(offsets.size()) - 1, [&](std::int64_t i) {
      const std::int64_t begin = offsets[static_cast<std::size_t>(i)];
      const std::int64_t end = offsets[static_cast<std::size_t>(i) + 1];
      const auto width = static_cast<std::size_t>(hidden());
      Carver memory(Workspace::of_thread().reserve(Workspace::kScratch, Carver::bytes<float>(width) + Carver::bytes<E>(width)));
      auto* const sums = memory.take<float>(width);
      auto* const token = memory.take<E>(width);
      for (std::int64_t t = begin; t < end; ++t) {
        avx512::add_norm_row(token_.row(tokens[t], token), position_.row(t - begin, nullptr), role_.row(roles[i], nullptr),
                             hidden(), embedding_norm_.view(), sums, x.row(t));
      }
    });
  }

  /// All steps of a program on the states x of the sequences at `offsets`; rows count from the first of them.
  void apply(const Team& team, std::span<const Step> program, Offsets offsets, Rows<E> x,
             Rows<const E> entry) const {
    const std::int64_t base = offsets.front();
    const std::int64_t rows = offsets.back() - base;
    const std::int64_t heads = config_.num_attention_heads;
    const auto sequences = static_cast<std::int64_t>(offsets.size()) - 1;
    const std::int64_t threads = team.threads;
    const std::int64_t blocks = (rows + kBlockRows * threads - 1) / (kBlockRows * threads) * threads;
    const auto border = [&](std::int64_t block) { return rows * block / blocks; };
    auto* memory = Workspace::of_thread().reserve(Workspace::kStates, product(rows, 3 * hidden()) * sizeof(E));
    const Rows<E> qkv = {static_cast<E*>(memory), 3 * hidden()};
    for (const Step& step : program) {
      team.for_each(blocks, [&](std::int64_t block) {
        const std::int64_t begin = border(block);
        const std::int64_t count = border(block + 1) - begin;
        if (step.reinject) avx512::add_scaled<E>(x.from(begin), entry.from(begin), step.reinject, count, hidden());
        auto* const scratch = Workspace::of_thread().reserve(Workspace::kScratch, Products::input_bytes(count, hidden()));
        avx512::linear<E>(Products::input(x.from(begin), count, hidden(), scratch), count, step.layer->qkv, qkv.from(begin));
      });
      team.for_each(sequences * heads, [&](std::int64_t job) {
        const auto sequence = static_cast<std::size_t>(job / heads);
        const std::int64_t begin = offsets[sequence] - base;
        attend(qkv.from(begin), offsets[sequence + 1] - base - begin, job % heads);
      });
      team.for_each(blocks, [&](std::int64_t block) {
        const std::int64_t begin = border(block);
        finish(step, qkv.from(begin), border(block + 1) - begin, x.from(begin));
      });
    }
  }

  /// One head of one sequence; the result takes the place of the queries.
  void attend(Rows<E> qkv, std::int64_t tokens, std::int64_t head) const {
    const std::int64_t size = hidden() / config_.num_attention_heads;
    E* const q = qkv.data + head * size;
    auto* scratch = Workspace::of_thread().reserve(Workspace::kScratch, avx512::attention_scratch<E>(tokens, size));
    const auto part = [&](std::int64_t i) { return Rows<const E>{q + i * hidden(), qkv.stride}; };
    avx512::attend<E>(part(0), part(1), part(2), {q, qkv.stride}, tokens, size, scratch);
  }

  /// Everything of a layer after its attention, for a block of rows.
  void finish(const Step& step, Rows<const E> attended, std::int64_t rows, Rows<E> x) const {
    const std::int64_t inner = config_.intermediate_size;
    const std::size_t narrow = product(rows, hidden());
    const std::size_t wide = product(rows, inner);
    const std::size_t input_bytes = Products::input_bytes(rows, std::max(hidden(), inner));
    Carver memory(Workspace::of_thread().reserve(Workspace::kScratch, 2 * Carver::bytes<float>(narrow) +
                                                     Carver::bytes<E>(narrow) + Carver::bytes<E>(wide) + input_bytes));
    const Rows<float> mixed = {memory.take<float>(narrow), hidden()};
    const Rows<float> sums = {memory.take<float>(narrow), hidden()};
    const Rows<E> rounded = {memory.take<E>(narrow), hidden()};
    const Rows<E> widened = {memory.take<E>(wide), inner};
    auto* const scratch = memory.take<std::byte>(input_bytes);
    const auto& layer = *step.layer;
    avx512::linear_float(Products::input(attended, rows, hidden(), scratch), rows, layer.out, mixed);
    avx512::add_norm<E, E>(mixed, x, rows, hidden(), step.attention_norm, rounded);
    avx512::linear_gelu<E>(Products::input(rounded, rows, hidden(), scratch), rows, layer.up, widened);
    avx512::linear_float(Products::input(widened, rows, inner, scratch), rows, layer.down, sums);
    avx512::add_norm<E, float>(sums, mixed, rows, hidden(), step.mlp_norm, x);
  }

  TAESRConfig config_;
  PackedLayers<typename Products::Linear> layers_;
  typename Products::Table token_;
  typename SameProducts<E>::Table position_;
  typename SameProducts<E>::Table role_;
  PackedNorm embedding_norm_;
};

bool sizes_fit(const TAESRConfig& config) {
  const auto fits = [](std::int64_t size) { return size % avx512::kPanel == 0; };
  return fits(config.hidden_size) && fits(config.intermediate_size) &&
         fits(config.hidden_size / config.num_attention_heads);
}

}  // namespace

std::unique_ptr<const InferenceModel> create_avx512(const TAESRConfig& config, const EncoderWeights& weights) {
  if (!sizes_fit(config)) return nullptr;
  const auto dtype = weights.shared.front().qkv.weight.scalar_type();
  if (dtype == at::kFloat && avx512::available<float>()) {
    return std::make_unique<Model<SameProducts<float>>>(config, weights);
  }
  if (dtype == at::kBFloat16 && avx512::available<c10::BFloat16>() && !cpu_has_bfloat16_tiles()) {
    return std::make_unique<Model<SameProducts<c10::BFloat16>>>(config, weights);
  }
  return nullptr;
}

std::unique_ptr<const InferenceModel> create_avx512_int8(const TAESRConfig& config, const EncoderWeights& weights) {
  if (!sizes_fit(config) || !avx512::available<std::uint8_t>()) return nullptr;
  if (avx512::available<c10::BFloat16>()) return std::make_unique<Model<Int8Products<c10::BFloat16>>>(config, weights);
  return std::make_unique<Model<Int8Products<float>>>(config, weights);
}

}  // namespace taesr
