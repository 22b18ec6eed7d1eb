#include "taesr/encoder.h"

#include <algorithm>
#include <utility>

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>

#include "engine/batching.h"
#include "engine/budget.h"
#include "engine/cuda/device_encoder.h"
#include "engine/flops.h"
#include "engine/loaded_model.h"
#include "engine/schedule.h"
#include "engine/window_depths.h"
#include "engine/window_outputs.h"
#include "kernels/sparse_pool.h"
#include "model/forward.h"
#include "model/heads.h"
#include "model/pooling.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

// Large enough for the matrix products to run at full rate, small enough for the activations of the
// widest layer (16k tokens x 1536 values) to stay near the caches.
constexpr std::size_t kTokenBudget = 8192;

constexpr std::size_t kLeastPass = 16;  // tokens: windows overlap

// Under a deadline batches are smaller: the rate is known sooner, and depths are chosen more finely.
constexpr std::size_t kDeadlineTokenBudget = 2048;

/// rows [chosen, columns] to the places `chosen` of `target`.
void scatter_rows(const at::Tensor& rows, std::span<const std::size_t> chosen, Matrix& target) {
  const at::Tensor values = rows.contiguous();
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    std::copy_n(values.const_data_ptr<float>() + i * target.columns, target.columns, target.row(chosen[i]).begin());
  }
}

/// Rows [begin, end) of a contiguous float32 tensor.
Matrix copy_rows(const at::Tensor& rows, std::int64_t begin, std::int64_t end) {
  Matrix copy(static_cast<std::size_t>(end - begin), static_cast<std::size_t>(rows.size(1)));
  std::copy_n(rows.const_data_ptr<float>() + begin * rows.size(1), copy.values.size(), copy.values.begin());
  return copy;
}

}  // namespace

struct Encoder::Impl : LoadedModel {
  std::unique_ptr<const DeviceEncoder> gpu;  // null: the processor computes

  [[nodiscard]] std::size_t window_size() const { return static_cast<std::size_t>(config.max_position_embeddings) - 2; }

  /// Token ids by text, without special tokens.
  [[nodiscard]] std::vector<std::vector<int>> tokenize(std::span<const std::string> texts) const {
    std::vector<std::vector<int>> ids(texts.size());
    at::parallel_for(0, static_cast<std::int64_t>(texts.size()), 16, [&](std::int64_t begin, std::int64_t end) {
      for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
        ids[i] = tokenizer.encode(texts[i]);
      }
    });
    return ids;
  }

  void append_windows(std::vector<Window>& windows, std::size_t text, std::vector<int> ids,
                      const EncodeOptions& options, EncodeResult& result) const {
    result.token_counts[text] = ids.size();
    const std::size_t room = options.max_tokens == 0 ? window_size() : options.max_tokens;
    if (ids.size() > room && options.on_overflow == Overflow::kError) {
      throw InvalidArgument("text " + std::to_string(options.first_text + text) + " has " +
                            std::to_string(ids.size()) + " tokens; at most " + std::to_string(room) +
                            " are read in one pass (on_overflow \"chunk\" reads all, \"truncate\" the first)");
    }
    if (ids.size() > room && options.on_overflow == Overflow::kTruncate) {
      ids.resize(room);
      ++result.truncated;
    }
    const auto spans = window_spans(ids.size(), room);
    result.windows[text] = spans.size();
    for (const auto& [begin, end] : spans) {
      Window window{text, {config.bos_id}};
      window.ids.insert(window.ids.end(), ids.begin() + static_cast<std::ptrdiff_t>(begin),
                        ids.begin() + static_cast<std::ptrdiff_t>(end));
      window.ids.push_back(config.eos_id);
      windows.push_back(std::move(window));
    }
  }

  [[nodiscard]] static std::vector<std::int64_t> offsets_of(std::span<const Window> windows,
                                                            std::span<const std::size_t> chosen) {
    std::vector<std::int64_t> offsets = {0};
    for (const std::size_t index : chosen) {
      offsets.push_back(offsets.back() + static_cast<std::int64_t>(windows[index].ids.size()));
    }
    return offsets;
  }

  [[nodiscard]] PackedBatch pack(std::span<const Window> windows, std::span<const std::size_t> chosen, Role role) const {
    std::vector<std::int64_t> tokens;
    PackedBatch batch;
    batch.offsets = offsets_of(windows, chosen);
    for (const std::size_t index : chosen) {
      tokens.insert(tokens.end(), windows[index].ids.begin(), windows[index].ids.end());
    }
    batch.tokens = at::tensor(tokens, at::kLong);
    batch.roles = at::tensor(std::vector<std::int64_t>(chosen.size(), static_cast<std::int64_t>(role)), at::kLong);
    return batch;
  }

  /// The model's two stages for the windows of one call.
  struct Pass final : Stages {
    Pass(const Impl& model, std::span<const Window> windows, const EncodeOptions& options, WindowDepths& depths,
         WindowOutputs& outputs)
        : model(model), windows(windows), options(options), depths(depths), outputs(outputs) {}

    at::Tensor enter(std::span<const std::size_t> chosen) override {
      const PackedBatch batch = model.pack(windows, chosen, options.role);
      layout.emplace(batch.offsets, at::kCPU);
      const auto entry = model.entry(batch, *layout);
      depths.decide(chosen, entry, *layout);
      return entry;
    }

    void finish(std::span<const std::size_t> chosen, const at::Tensor& entry, int depth) override {
      auto offsets = offsets_of(windows, chosen);
      if (offsets != layout->offsets) layout.emplace(std::move(offsets), at::kCPU);
      const auto hidden = model.states(entry, *layout, depth);
      model.read_heads(hidden, *layout, chosen, options, outputs);
      if (outputs.subspaces.empty()) return;
      const int deepest = model.config.max_recursions();
      const auto last = depth == deepest ? hidden : model.states(entry, *layout, deepest);
      const auto pooled = model.pooled(last, *layout);
      for (auto& [name, rows] : outputs.subspaces) {
        scatter_rows(dense_embedding(pooled, model.weights.subspaces.at(name)), chosen, rows);
      }
    }

    const Impl& model;
    std::span<const Window> windows;
    const EncodeOptions& options;
    WindowDepths& depths;
    WindowOutputs& outputs;
    std::optional<PackedLayout> layout;  // of the last batch: mostly both stages work on the same one
  };

  // The three parts of a pass, by the engine's own kernels where they serve this model and processor.
  [[nodiscard]] at::Tensor entry(const PackedBatch& batch, const PackedLayout& layout) const {
    return inference ? inference->entry_states(batch) : entry_states(config, weights, batch, layout);
  }

  [[nodiscard]] at::Tensor states(const at::Tensor& entry, const PackedLayout& layout, int depth) const {
    if (inference) return inference->states_from_entry(entry, layout.offsets, depth);
    const int depths[] = {depth};
    return encoder_states_from_entry(config, weights, entry, layout, depths).hidden.front();
  }

  [[nodiscard]] at::Tensor pooled(const at::Tensor& hidden, const PackedLayout& layout) const {
    return inference ? inference->pooled_mean(hidden, layout.offsets) : pooled_mean(hidden, layout);
  }

  /// Passes all windows through the model; each gets its row or matrix of the heads that `outputs` has.
  void run(std::span<const Window> windows, const EncodeOptions& options, WindowDepths& depths,
           WindowOutputs& outputs, std::optional<Deadline>& deadline) const {
    if (gpu) {
      DeviceEncoder::Call call(*gpu, windows, options, depths, outputs);
      return deadline ? run_until(*deadline, windows, options, depths, call) : call.run();
    }
    Pass pass(*this, windows, options, depths, outputs);
    if (!deadline) return run_in_buckets(windows, depths, kTokenBudget, pass);
    run_until(*deadline, windows, options, depths, pass);
  }

  /// Within a deadline.
  void run_until(Deadline& deadline, std::span<const Window> windows, const EncodeOptions& options,
                 WindowDepths& depths, Stages& stages) const {
    const ModelShape shape = ModelShape::of(config);
    const double subspaces = subspace_values(config, options.outputs);
    const auto flops = [&](std::size_t length, int depth) {
      const auto tokens = static_cast<double>(length);
      return depth == 0 ? entry_flops(shape, tokens) : pass_flops(shape, tokens, depth, options.outputs, subspaces);
    };
    taesr::run_until(deadline, windows, depths, depth_choices(options), kDeadlineTokenBudget, flops, stages);
  }

  /// Recursions that no text goes beyond.
  [[nodiscard]] int deepest(const EncodeOptions& options) const {
    const bool any = options.depth == "auto" && (weights.router || options.max_flops);
    return any ? config.max_recursions() : config.recursions(options.depth);
  }

  /// What a budget may choose from.
  [[nodiscard]] std::vector<int> depth_choices(const EncodeOptions& options) const {
    if (reads_deepest_only(options.outputs)) return {config.max_recursions()};
    return depth_ladder(config, deepest(options));
  }

  [[nodiscard]] static bool reads_deepest_only(const Outputs& outputs) {
    return !outputs.dense && !outputs.sparse && !outputs.late;
  }

  /// Dense, sparse and late outputs of one batch.
  void read_heads(const at::Tensor& hidden, const PackedLayout& layout, std::span<const std::size_t> chosen,
                  const EncodeOptions& options, WindowOutputs& outputs) const {
    if (options.outputs.dense) {
      scatter_rows(dense_embedding(pooled(hidden, layout), weights.head), chosen, outputs.dense);
    }
    if (options.outputs.sparse) {
      auto rows = sparse_pool_rows(sparse_transform(hidden, *weights.sparse, config.layer_norm_eps), weights.token,
                                   weights.sparse->bias, layout.offsets, options.sparse_top);
      for (std::size_t i = 0; i < chosen.size(); ++i) outputs.sparse[chosen[i]] = std::move(rows[i]);
    }
    if (options.outputs.late) {
      const auto rows = late_embedding(hidden, weights.late);
      for (std::size_t i = 0; i < chosen.size(); ++i) {
        // Without the special tokens at both ends.
        outputs.late[chosen[i]] = copy_rows(rows, layout.offsets[i] + 1, layout.offsets[i + 1] - 1);
      }
    }
  }

  /// Depths of the windows. Of texts of one window the router decides in `run`, which goes on from the states
  /// that it has read; texts of several are routed here, in an entry pass of their own, as a book's states
  /// would not fit into memory until its last window is routed.
  [[nodiscard]] WindowDepths plan_depths(std::span<const Window> windows, const EncodeOptions& options,
                                         const EncodeResult& result) const {
    if (options.max_flops) return {windows, depths_within(config, options, result, depth_choices(options))};
    if (reads_deepest_only(options.outputs)) return {windows.size(), config.max_recursions()};
    if (options.depth != "auto" || !weights.router) return {windows.size(), config.recursions(options.depth)};
    WindowDepths depths(windows.size(), config, *weights.router);
    for (auto& chosen : plan_batches(windows, kTokenBudget)) {
      std::erase_if(chosen, [&](std::size_t i) { return result.windows[windows[i].text] == 1; });
      if (chosen.empty()) continue;
      if (gpu) {
        HostBatch batch;
        for (const std::size_t i : chosen) batch.append(windows[i].ids, static_cast<int>(options.role));
        depths.decide(chosen, gpu->router_probabilities(batch));
        continue;
      }
      const PackedBatch batch = pack(windows, chosen, options.role);
      const PackedLayout layout(batch.offsets, at::kCPU);
      depths.decide(chosen, entry(batch, layout), layout);
    }
    depths.join(windows);
    return depths;
  }

  void check_heads(const Outputs& outputs) const {
    if (outputs.sparse && !weights.sparse) throw_missing("sparse", "sparse_head");
    if (outputs.late && !weights.late.defined()) throw_missing("late-interaction", "late_size");
    for (const std::string& name : outputs.subspaces) {
      if (config.subspaces.contains(name)) continue;
      std::string known;
      for (const auto& [other, size] : config.subspaces) known += (known.empty() ? "" : ", ") + other;
      throw InvalidArgument("the model '" + source.string() + "' has no subspace '" + name.substr(0, 60) + "'; it has " +
                            (known.empty() ? "none" : known));
    }
  }

  [[noreturn]] void throw_missing(const std::string& head, const std::string& field) const {
    throw InvalidArgument("the model '" + source.string() + "' has no " + head + " head (config field '" + field +
                          "'); use a model that was trained with one");
  }
};

Encoder::Encoder(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Encoder::~Encoder() = default;
Encoder::Encoder(Encoder&&) noexcept = default;
Encoder& Encoder::operator=(Encoder&&) noexcept = default;

Encoder Encoder::load(const std::optional<std::filesystem::path>& path, Precision precision, const std::string& device) {
  const auto folder = path.value_or(default_model_path());
  const at::Device place = parse_device(device);
  if (place.is_cpu()) return Encoder(std::unique_ptr<Impl>(new Impl{load_model(folder, precision), nullptr}));
  std::unique_ptr<Impl> impl(new Impl{load_model_for_device(folder, precision), nullptr});
  const auto dtype = impl->precision == Precision::kFloat32 ? at::kFloat : at::kBFloat16;
  impl->gpu = std::make_unique<const DeviceEncoder>(impl->config, impl->weights, dtype, place);
  return Encoder(std::move(impl));
}

EncodeResult Encoder::encode(std::span<const std::string> texts, const EncodeOptions& options) const {
  const std::size_t dim = options.dim == 0 ? dimension() : options.dim;
  if (dim > dimension()) {
    throw InvalidArgument("dim is " + std::to_string(dim) + "; allowed: 1 to " + std::to_string(dimension()));
  }
  if (options.max_tokens != 0 && (options.max_tokens < kLeastPass || options.max_tokens > max_tokens())) {
    throw InvalidArgument("max_tokens is " + std::to_string(options.max_tokens) + "; allowed: " +
                          std::to_string(kLeastPass) + " to " + std::to_string(max_tokens()));
  }
  impl_->check_heads(options.outputs);
  check_budget(options);
  (void)impl_->config.recursions(options.depth);  // throws before the work
  std::optional<Deadline> deadline;
  if (options.deadline_ms) deadline.emplace(*options.deadline_ms);
  EncodeResult result;
  result.token_counts.resize(texts.size());
  result.windows.resize(texts.size());

  std::vector<Window> windows;
  auto ids = impl_->tokenize(texts);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    impl_->append_windows(windows, i, std::move(ids[i]), options, result);
  }
  const at::NoGradGuard no_grad;
  WindowDepths depths = impl_->plan_depths(windows, options, result);
  WindowOutputs outputs(windows.size(), impl_->config, options.outputs);
  impl_->run(windows, options, depths, outputs, deadline);
  depths.report(windows, result);
  merge_windows(windows, std::move(outputs), dim, options.sparse_top, result);
  result.deadline_missed = deadline && deadline->seconds_left() < 0;
  return result;
}

double Encoder::flops(std::size_t tokens, const std::string& depth, const Outputs& outputs) const {
  impl_->check_heads(outputs);
  return text_flops(ModelShape::of(impl_->config), static_cast<double>(tokens),
                    static_cast<double>(window_count(tokens, impl_->window_size())), impl_->config.recursions(depth),
                    outputs, subspace_values(impl_->config, outputs));
}

std::vector<SparseVector> Encoder::encode_sparse_query(std::span<const std::string> texts) const {
  impl_->check_heads({.sparse = true});
  const at::Tensor table = impl_->weights.sparse->idf.contiguous();
  const std::span<const float> idf(table.const_data_ptr<float>(), static_cast<std::size_t>(table.numel()));
  std::vector<SparseVector> queries;
  queries.reserve(texts.size());
  for (const auto& ids : impl_->tokenize(texts)) queries.push_back(sparse_query_from_table(ids, idf));
  return queries;
}

Embeddings Encoder::embed(std::span<const std::string> texts, Role role, const std::string& depth) const {
  return embed_all(texts, role, depth, {});
}

Embeddings Encoder::embed_all(std::span<const std::string> texts, Role role, const std::string& depth,
                              const ExtraHeads& heads) const {
  const bool looked_up =
      heads.sparse && role == Role::kQuery && impl_->config.sparse_queries == SparseQueries::kTable;
  const Outputs outputs{.sparse = heads.sparse && !looked_up, .late = heads.late};
  EncodeResult result = encode(texts, {.role = role, .depth = depth, .outputs = outputs});
  if (looked_up) result.sparse = encode_sparse_query(texts);
  return {std::move(result.embeddings), std::move(result.depths), std::move(result.sparse), std::move(result.late)};
}

ExtraHeads Encoder::extra_heads() const { return {impl_->weights.sparse.has_value(), impl_->weights.late.defined()}; }

std::size_t Encoder::dimension() const { return static_cast<std::size_t>(impl_->config.embedding_size); }
std::string Encoder::fingerprint() const { return impl_->fingerprint; }
std::size_t Encoder::count_tokens(const std::string& text) const { return impl_->tokenizer.encode(text).size(); }
std::size_t Encoder::max_tokens() const { return impl_->window_size(); }
const TAESRConfig& Encoder::config() const { return impl_->config; }
const Tokenizer& Encoder::tokenizer() const { return impl_->tokenizer; }
Precision Encoder::precision() const { return impl_->precision; }
std::string Encoder::device() const { return impl_->gpu ? impl_->gpu->model().device().str() : "cpu"; }
const std::filesystem::path& Encoder::source() const { return impl_->source; }

}  // namespace taesr
