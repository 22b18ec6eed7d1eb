#include "decoder/device/device_layers.h"

#include <algorithm>
#include <cstring>

#include <ATen/ops/empty.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/topk.h>
#include <c10/core/impl/VirtualGuardImpl.h>

namespace taesr {
namespace {

// Larger batches keep the GPU busy longer than their launches take.
constexpr std::int64_t kRecordedRows = 1024;
// Sizes come and go with the requests; recording takes as long as some passes.
constexpr GraphCache::Limits kGraphs = {.graphs = 256, .uses = 4};
// Blocks of the attention that fill a GPU, and the least that one of them is worth starting for.
constexpr std::int64_t kBlocks = 512;
constexpr std::int64_t kLeastEntries = 256;
constexpr std::int64_t kMostSplits = 32;

/// Somewhat more rows, so that there are few sizes.
std::int64_t padded(std::int64_t rows) {
  if (rows > kRecordedRows) return rows;
  std::int64_t step = 1;
  while (step < 64 && 8 * step < rows) step *= 2;
  return (rows + step - 1) / step * step;
}

std::int64_t splits_of(std::int64_t rows, std::int64_t kv_heads, std::int64_t visible) {
  std::int64_t splits = 1;
  while (splits < kMostSplits && rows * kv_heads * splits < kBlocks && visible > 2 * splits * kLeastEntries) {
    splits *= 2;
  }
  return splits;
}

/// Where the kernel gives up.
void find_crowded(const at::Tensor& scores, std::span<ScoredToken> best) {
  const auto [values, indices] = at::topk(scores.cpu(), static_cast<std::int64_t>(best.size()));
  for (std::size_t i = 0; i < best.size(); ++i) {
    best[i] = {.token = static_cast<int>(indices.const_data_ptr<std::int64_t>()[i]),
               .score = values.const_data_ptr<float>()[i]};
  }
}

}  // namespace

DeviceLayers::DeviceLayers(const DeviceWeights& model, KvCaching caching)
    : model_(model),
      stages_(model.config),
      layout_(model.config, caching),
      pages_{.addresses = {},
             .angles = model.angles,
             .heads = model.config.heads,
             .kv_heads = model.config.kv_heads},
      addresses_(at::kLong, model.device),
      rows_{{at::kInt, model.device}, {at::kInt, model.device}, {at::kInt, model.device}},
      going_(at::kInt, model.device),
      wanted_(at::kLong, model.device),
      best_tokens_(at::kInt, model.device),
      best_scores_(at::kFloat, model.device),
      graphs_(std::make_unique<GraphCache>(model.device, kGraphs)) {}

void DeviceLayers::prepare(const std::vector<std::int64_t>& addresses, std::int64_t most_rows) {
  const auto count = static_cast<std::int64_t>(addresses.size());
  if (addresses_.reserve(count)) forget_graphs();
  std::copy(addresses.begin(), addresses.end(), addresses_.host<std::int64_t>());
  addresses_.send(count);
  pages_.addresses = addresses_.on_device();
  reserve(padded(most_rows));
}

void DeviceLayers::start(Rows& rows, DecodeStates& states) { run(Part::kStart, rows, states); }
void DeviceLayers::finish(Rows& rows, DecodeStates& states) { run(Part::kFinish, rows, states); }

void DeviceLayers::recur(Rows& rows, DecodeStates& states) {
  run(Part::kRecur, rows, states);
  if (model_.router.kind != DecodeRouter::kNone) going_.fetch(static_cast<std::int64_t>(rows.size()));
}

void DeviceLayers::run(Part part, Rows& rows, DecodeStates& states) {
  if (rows.empty()) return;
  const std::int64_t count = padded(static_cast<std::int64_t>(rows.size()));
  std::int64_t visible = 0;
  for (const DecodeRow& row : rows) visible = std::max<std::int64_t>(visible, row.visible);
  rows.resize(static_cast<std::size_t>(count));
  Staged& staged = rows_[static_cast<int>(part)];
  std::memcpy(staged.host<std::int32_t>(), rows.data(), rows.size() * sizeof(DecodeRow));
  staged.send(count * kDecodeFields);
  const std::int64_t splits = splits_of(count, model_.config.kv_heads, visible);
  reserve_parts(splits > 1 ? count * model_.config.heads * splits * (model_.config.head_dim + 2) : 1);
  if (states.values.data_ptr() != states_) {
    states_ = states.values.data_ptr();
    forget_graphs();
  }
  record(part, count, splits, [&] {
    Views views = view(part, count, splits);
    work(part, views, states);
  });
}

/// What is done to so many rows, in one of several kinds; as a graph where that pays.
void DeviceLayers::record(Part part, std::int64_t rows, std::int64_t kind,
                          const std::function<void()>& work) {
  if (rows > kRecordedRows) return work();
  graphs_->run({static_cast<int>(part), {.sequences = kind, .tokens = rows}}, work);
}

void DeviceLayers::work(Part part, Views& views, DecodeStates& states) {
  const bool starts = part == Part::kStart;
  decode_gather(starts ? model_.token : states.values, views.rows, !starts, views.x);
  const std::int64_t count = part == Part::kRecur ? stages_.block : stages_.ends;
  const std::int64_t first = starts ? 0 : part == Part::kRecur ? stages_.ends : stages_.last();
  for (std::int64_t i = 0; i < count; ++i) apply(first + i, i > 0, views);
  const std::optional<at::Tensor> pending = count > 0 ? std::optional(views.y) : std::nullopt;
  if (part == Part::kFinish) {
    add_rms_norm_(views.x, pending, model_.final_norm, model_.config.norm_eps, views.normed);
  } else {
    decode_merge(states, views.x, pending, views.rows, model_.router, views.going);
  }
}

/// One layer; y is `pending` to be added to x, and pending afterwards.
void DeviceLayers::apply(std::int64_t layer, bool pending, Views& views) {
  const DeviceLayer& weights = model_.layers[static_cast<std::size_t>(model_.config.unique_layer(layer))];
  const double eps = model_.config.norm_eps;
  const std::int64_t slot = layout_.slot(layer);
  const auto before = pending ? std::optional(views.y) : std::nullopt;
  add_rms_norm_(views.x, before, weights.attention_norm, eps, views.normed);
  at::mm_out(views.qkv, views.normed, weights.qkv);
  if (layout_.stores(layer)) decode_append(views.qkv, views.rows, pages_, slot);
  decode_attend(views.qkv, views.rows, pages_, slot, views.parts, views.attended);
  at::mm_out(views.y, views.attended, weights.output);
  add_rms_norm_(views.x, views.y, weights.mlp_norm, eps, views.normed);
  at::mm_out(views.gate_up, views.normed, weights.gate_up);
  decode_swiglu(views.gate_up, views.inner);
  at::mm_out(views.y, views.inner, weights.down);
}

std::span<const std::int32_t> DeviceLayers::going(std::size_t rows) {
  wait();
  return {going_.host<std::int32_t>(), rows};
}

void DeviceLayers::wait() const {
  if (model_.device.is_cuda()) c10::impl::VirtualGuardImpl(at::kCUDA).getStream(model_.device).synchronize();
}

/// They know memory that is no longer in use.
void DeviceLayers::forget_graphs() {
  wait();
  graphs_ = std::make_unique<GraphCache>(model_.device, kGraphs);
}

at::Tensor DeviceLayers::score(std::span<const std::int64_t> wanted) {
  const std::int64_t rows = send_wanted(wanted);
  score(rows);
  return logits_.narrow(0, 0, static_cast<std::int64_t>(wanted.size()));
}

/// Padded with a row that is there. Returns how many they are then.
std::int64_t DeviceLayers::send_wanted(std::span<const std::int64_t> wanted) {
  const std::int64_t rows = padded(static_cast<std::int64_t>(wanted.size()));
  const bool moved = wanted_.reserve(rows);
  if (moved || !logits_.defined() || logits_.size(0) < rows) {
    forget_graphs();
    const std::int64_t room = std::max(rows, logits_.defined() ? 2 * logits_.size(0) : 0);
    scored_ = at::empty({room, model_.config.hidden_size}, normed_.options());
    logits_ = at::empty({room, model_.config.vocab_size}, x_.options());
  }
  std::fill_n(std::copy(wanted.begin(), wanted.end(), wanted_.host<std::int64_t>()),
              static_cast<std::size_t>(rows) - wanted.size(), 0);
  wanted_.send(rows);
  return rows;
}

/// Logits of the first wanted rows.
void DeviceLayers::score(std::int64_t rows) {
  auto scored = scored_.narrow(0, 0, rows);
  auto logits = logits_.narrow(0, 0, rows);
  at::index_select_out(scored, normed_, 0, wanted_.on_device().narrow(0, 0, rows));
  if (model_.dtype == at::kFloat) {
    at::mm_out(logits, scored, model_.head);
  } else if (model_.device.is_cuda()) {
    at::mm_out(logits, scored, model_.head, at::kFloat);
  } else {
    logits.copy_(at::mm(scored.to(at::kFloat), model_.head.to(at::kFloat)));
  }
}

void DeviceLayers::find_best(std::span<const std::int64_t> wanted, std::int64_t count) {
  const std::int64_t rows = send_wanted(wanted);
  best_each_ = count;
  if (best_tokens_.reserve(rows * count)) forget_graphs();
  if (best_scores_.reserve(rows * count)) forget_graphs();
  record(Part::kScore, rows, count, [&] {
    const auto view = [&](const Staged& staged) {
      return staged.on_device().narrow(0, 0, rows * count).view({rows, count});
    };
    score(rows);
    auto tokens = view(best_tokens_);
    auto scores = view(best_scores_);
    decode_top(logits_.narrow(0, 0, rows), scores, tokens);
  });
  best_tokens_.fetch(rows * count);
  best_scores_.fetch(rows * count);
}

void DeviceLayers::best(std::span<ScoredToken> best) {
  wait();
  const auto* const token = best_tokens_.host<std::int32_t>();
  const auto* const score = best_scores_.host<float>();
  for (std::size_t i = 0; i < best.size(); ++i) best[i] = {.token = token[i], .score = score[i]};
  const auto each = static_cast<std::size_t>(best_each_);
  for (std::size_t at = 0; at < best.size(); at += each) {
    if (token[at] != kTopCrowded) continue;
    find_crowded(logits_[static_cast<std::int64_t>(at / each)], best.subspan(at, each));
  }
}

DeviceLayers::Views DeviceLayers::view(Part part, std::int64_t count, std::int64_t splits) const {
  const auto rows_of = [&](const at::Tensor& buffer) { return buffer.narrow(0, 0, count); };
  const DecoderConfig& config = model_.config;
  const std::int64_t parts = splits > 1 ? count * config.heads * splits * (config.head_dim + 2) : 1;
  const at::Tensor& rows = rows_[static_cast<int>(part)].on_device();
  return {.x = rows_of(x_),
          .normed = rows_of(normed_),
          .qkv = rows_of(qkv_),
          .attended = rows_of(attended_),
          .y = rows_of(y_),
          .gate_up = rows_of(gate_up_),
          .inner = rows_of(inner_),
          .going = rows_of(going_.on_device()),
          .rows = rows.narrow(0, 0, count * kDecodeFields).view({count, kDecodeFields}),
          .parts = splits > 1
                       ? parts_.narrow(0, 0, parts).view({count, config.heads, splits, config.head_dim + 2})
                       : parts_.narrow(0, 0, parts).view({1, 1, 1, 1})};
}

void DeviceLayers::reserve(std::int64_t rows) {
  if (rows <= capacity_) return;
  capacity_ = std::max(rows, 2 * capacity_);
  forget_graphs();
  const DecoderConfig& config = model_.config;
  const auto options = at::TensorOptions().dtype(model_.dtype).device(model_.device);
  const auto buffer = [&](std::int64_t width) { return at::empty({capacity_, width}, options); };
  x_ = at::empty({capacity_, config.hidden_size}, options.dtype(at::kFloat));
  normed_ = buffer(config.hidden_size);
  qkv_ = buffer((config.heads + 2 * config.kv_heads) * config.head_dim);
  attended_ = buffer(config.heads * config.head_dim);
  y_ = buffer(config.hidden_size);
  gate_up_ = buffer(2 * config.intermediate_size);
  inner_ = buffer(config.intermediate_size);
  going_.reserve(capacity_);
  for (Staged& staged : rows_) staged.reserve(capacity_ * kDecodeFields);
}

void DeviceLayers::reserve_parts(std::int64_t size) {
  if (parts_.defined() && parts_.numel() >= size) return;
  forget_graphs();
  parts_ = at::empty({2 * size}, at::TensorOptions().dtype(at::kFloat).device(model_.device));
}

}  // namespace taesr
