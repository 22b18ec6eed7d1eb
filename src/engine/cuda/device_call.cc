#include <algorithm>
#include <optional>
#include <utility>

#include <ATen/TensorOperators.h>
#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>

#include "engine/cuda/device_encoder.h"
#include "kernels/sparse_max.h"
#include "model/heads.h"
#include "model/pooling.h"

namespace taesr {
namespace {

// Enough for the products to run at full rate; about 9 KB of memory a token at a hidden size of 384.
constexpr std::size_t kBatchTokens = 262144;

/// A copy on its way to the host.
at::Tensor fetch(const at::Tensor& x) {
  auto host = staging(x.sizes(), x.scalar_type(), x.device());
  host.copy_(x, /*non_blocking=*/true);
  return host;
}

void copy_row(const at::Tensor& rows, std::size_t i, std::span<float> target) {
  std::copy_n(rows.const_data_ptr<float>() + i * target.size(), target.size(), target.begin());
}

}  // namespace

/// Outputs of a batch on their way to the host.
struct DeviceEncoder::Call::Pending {
  std::vector<std::size_t> chosen;  // windows, in the order of the rows
  std::vector<std::int64_t> offsets;
  at::Tensor dense, late;
  std::map<std::string, at::Tensor> subspaces;
  SparseTop sparse;
  std::optional<c10::Event> arrived;  // none on the CPU

  /// All copies are on their way: behind them on the stream.
  void mark(const c10::Stream& stream) {
    if (!stream.device().is_cuda()) return;
    arrived.emplace(c10::DeviceType::CUDA);
    arrived->record(stream);
  }

  void deliver(WindowOutputs& outputs) const {
    if (arrived) arrived->synchronize();
    for (std::size_t i = 0; i < chosen.size(); ++i) {
      const std::size_t window = chosen[i];
      if (dense.defined()) copy_row(dense, i, outputs.dense.row(window));
      for (const auto& [name, rows] : subspaces) copy_row(rows, i, outputs.subspaces.at(name).row(window));
      if (late.defined()) outputs.late[window] = late_rows(i);
      if (sparse.weights.defined()) outputs.sparse[window] = sparse_row(static_cast<std::int64_t>(i));
    }
  }

  /// Without the special tokens at both ends.
  [[nodiscard]] Matrix late_rows(std::size_t i) const {
    const std::int64_t begin = offsets[i] + 1, end = offsets[i + 1] - 1;
    Matrix rows(static_cast<std::size_t>(end - begin), static_cast<std::size_t>(late.size(1)));
    std::copy_n(late.const_data_ptr<float>() + begin * late.size(1), rows.values.size(), rows.values.begin());
    return rows;
  }

  [[nodiscard]] SparseVector sparse_row(std::int64_t i) const {
    const std::int64_t kept = sparse.weights.size(1);
    const auto* piece = sparse.pieces.const_data_ptr<std::int64_t>() + i * kept;
    const auto* weight = sparse.weights.const_data_ptr<float>() + i * kept;
    SparseVector row;
    for (std::int64_t k = 0; k < kept; ++k) {
      if (weight[k] > 0) row.push_back({static_cast<int>(piece[k]), weight[k]});
    }
    return row;
  }
};

DeviceEncoder::Call::Call(const DeviceEncoder& encoder, std::span<const Window> windows, const EncodeOptions& options,
                          WindowDepths& depths, WindowOutputs& outputs)
    : encoder_(encoder),
      windows_(windows),
      options_(options),
      depths_(depths),
      outputs_(outputs),
      turn_(encoder.mutex_) {}

DeviceEncoder::Call::~Call() = default;

void DeviceEncoder::Call::run() {
  const c10::StreamGuard stream(encoder_.stream_);
  std::optional<Pending> before;
  for (auto& chosen : plan_batches(windows_, kBatchTokens)) {
    Pending pending = launch(std::move(chosen));
    if (before) before->deliver(outputs_);
    before = std::move(pending);
  }
  if (before) before->deliver(outputs_);
}

HostBatch DeviceEncoder::Call::pack(std::span<const std::size_t> chosen) const {
  HostBatch batch;
  for (const std::size_t window : chosen) batch.append(windows_[window].ids, static_cast<int>(options_.role));
  return batch;
}

bool DeviceEncoder::Call::wants_dense_only() const {
  const Outputs& wanted = options_.outputs;
  return wanted.dense && !wanted.sparse && !wanted.late && wanted.subspaces.empty();
}

DeviceEncoder::Call::Pending DeviceEncoder::Call::launch(std::vector<std::size_t> chosen) {
  const bool decided = std::all_of(chosen.begin(), chosen.end(), [&](std::size_t i) { return depths_.decided(i); });
  if (decided) {
    std::stable_sort(chosen.begin(), chosen.end(),
                     [&](std::size_t a, std::size_t b) { return depths_.of(a) > depths_.of(b); });
  }
  const HostBatch batch = pack(chosen);
  const bool recorded = wants_dense_only() && encoder_.records(batch);
  Entered entered = recorded ? encoder_.enter_recorded(batch) : encoder_.enter(batch);
  if (!decided) {
    const auto count = static_cast<std::int64_t>(chosen.size());
    const auto probabilities = recorded ? encoder_.recorded_.probabilities.narrow(0, 0, count)
                                        : encoder_.route(entered.states, entered.layout.borders);
    depths_.decide(chosen, probabilities.cpu());
  }
  const auto depths = depths_.of(chosen);
  const bool uniform = std::all_of(depths.begin(), depths.end(), [&](int depth) { return depth == depths.front(); });
  if (recorded && uniform) {
    const auto dense = fetch(encoder_.finish_recorded(entered, depths.front()));
    Pending pending = {std::move(chosen), std::move(entered.offsets), dense, {}, {}, {}, {}};
    pending.mark(encoder_.stream_);
    return pending;
  }
  encoder_.sort_by_depth(entered, depths);
  std::vector<std::size_t> sorted;
  for (const std::size_t i : entered.order) sorted.push_back(chosen[i]);
  const auto sorted_depths = depths_.of(sorted);
  return read_heads(entered, encoder_.finish(entered, sorted_depths), sorted_depths, std::move(sorted));
}

DeviceEncoder::Call::Pending DeviceEncoder::Call::read_heads(const Entered& entered, const at::Tensor& hidden,
                                                             std::span<const int> depths,
                                                             std::vector<std::size_t> chosen) const {
  const DeviceEncoder& encoder = encoder_;
  Pending pending = {std::move(chosen), entered.offsets, {}, {}, {}, {}, {}};
  if (options_.outputs.dense) pending.dense = fetch(encoder.embed_dense(hidden, entered.layout.borders));
  if (options_.outputs.late) pending.late = fetch(late_embedding(hidden, encoder.late_));
  if (options_.outputs.sparse) {
    const auto transformed = sparse_transform(hidden, *encoder.sparse_, encoder.config_.layer_norm_eps);
    const auto top =
        sparse_top(transformed, encoder.table_, encoder.sparse_->bias, entered.offsets, options_.sparse_top);
    pending.sparse = {fetch(top.pieces), fetch(top.weights)};
  }
  if (!options_.outputs.subspaces.empty()) {
    const int deepest = encoder.config_.max_recursions();
    const bool there = std::all_of(depths.begin(), depths.end(), [&](int depth) { return depth == deepest; });
    const std::vector<int> deep(depths.size(), deepest);
    const auto pooled = segment_mean(there ? hidden : encoder.finish(entered, deep), entered.layout.borders);
    for (const std::string& name : options_.outputs.subspaces) {
      pending.subspaces[name] = fetch(dense_embedding(pooled, encoder.subspaces_.at(name)));
    }
  }
  pending.mark(encoder.stream_);
  return pending;
}

at::Tensor DeviceEncoder::Call::enter(std::span<const std::size_t> chosen) {
  const c10::StreamGuard stream(encoder_.stream_);
  const Entered entered = encoder_.enter(pack(chosen));
  const bool decided = std::all_of(chosen.begin(), chosen.end(), [&](std::size_t i) { return depths_.decided(i); });
  if (!decided) depths_.decide(chosen, encoder_.route(entered.states, entered.layout.borders).cpu());
  if (encoder_.stream_.device().is_cuda()) encoder_.stream_.synchronize();  // the caller measures its time
  return entered.states;
}

void DeviceEncoder::Call::finish(std::span<const std::size_t> chosen, const at::Tensor& entry, int depth) {
  const c10::StreamGuard stream(encoder_.stream_);
  Entered entered = {{}, {0}, {}, entry};
  for (const std::size_t window : chosen) {
    entered.offsets.push_back(entered.offsets.back() + static_cast<std::int64_t>(windows_[window].ids.size()));
  }
  entered.layout = send_layout(entered.offsets, encoder_.model_.device());
  const std::vector<int> depths(chosen.size(), depth);
  read_heads(entered, encoder_.finish(entered, depths), depths, {chosen.begin(), chosen.end()}).deliver(outputs_);
}

}  // namespace taesr
