#include "engine/cuda/device_encoder.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <utility>

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/diff.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/repeat_interleave.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/tensor.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "kernels/row_ops.h"
#include "kernels/to_device.h"
#include "model/pooling.h"
#include "model/router.h"

namespace taesr {
namespace {

// Batches up to here are recorded: larger ones keep the GPU busy longer than their launches take.
constexpr std::int64_t kRecordedTokens = 4096;
constexpr std::int64_t kRecordedSequences = 512;

c10::Stream own_stream(at::Device device) {
  const c10::impl::VirtualGuardImpl guard(device.type());
  return device.is_cuda() ? guard.getStreamFromGlobalPool(device) : guard.getStream(device);
}

Affine on_device(const Affine& affine, at::Device device) {
  return {affine.weight.to(device, at::kFloat), affine.bias.to(device, at::kFloat)};
}

/// reach[r]: sequences of more than r recursions; `depths` falls. In one pass, as the device may be waiting.
std::vector<Extent> reach_of(std::span<const std::int64_t> offsets, std::span<const int> depths) {
  std::vector<Extent> reach(static_cast<std::size_t>(depths.front()));
  Extent extent;
  std::size_t next = 0;
  for (int r = depths.front() - 1; r >= 0; --r) {
    for (; next < depths.size() && depths[next] > r; ++next) extent.add(offsets[next + 1] - offsets[next]);
    reach[static_cast<std::size_t>(r)] = extent;
  }
  return reach;
}

/// Numbers of sequences, the deepest first, of equal depth in their order. Depths are few: a pass for each is
/// faster than to sort.
std::vector<std::size_t> deepest_first(std::span<const int> depths) {
  std::vector<std::size_t> order;
  order.reserve(depths.size());
  for (int depth = *std::max_element(depths.begin(), depths.end()); order.size() < depths.size(); --depth) {
    for (std::size_t i = 0; i < depths.size(); ++i) {
      if (depths[i] == depth) order.push_back(i);
    }
  }
  return order;
}

/// 0, 1, 2, ...
std::vector<std::size_t> numbers(std::size_t count) {
  std::vector<std::size_t> list(count);
  std::iota(list.begin(), list.end(), std::size_t{0});
  return list;
}

std::vector<int> in_order(std::span<const int> values, std::span<const std::size_t> order) {
  std::vector<int> result;
  result.reserve(order.size());
  for (const std::size_t i : order) result.push_back(values[i]);
  return result;
}

}  // namespace

DeviceEncoder::DeviceEncoder(const TAESRConfig& config, const EncoderWeights& weights, at::ScalarType dtype,
                             at::Device device)
    : config_(config), stream_(own_stream(device)), model_(config, weights, dtype, device), graphs_(device) {
  head_ = on_device(weights.head, device);
  if (weights.sparse) {
    const SparseWeights& head = *weights.sparse;
    sparse_ = SparseWeights{on_device(head.transform, device), on_device(head.norm, device),
                            head.bias.to(device, at::kFloat), {}};
    table_ = weights.token.to(device, dtype).contiguous();
  }
  if (weights.late.defined()) late_ = weights.late.to(device, at::kFloat);
  if (weights.router) {
    router_ = {on_device(weights.router->hidden, device), on_device(weights.router->out, device)};
  }
  for (const auto& [name, affine] : weights.subspaces) subspaces_[name] = on_device(affine, device);
  // The weights were copied on the caller's stream.
  if (device.is_cuda()) c10::impl::VirtualGuardImpl(device.type()).getStream(device).synchronize();
}

DeviceEncoder::~DeviceEncoder() = default;

bool DeviceEncoder::records(const HostBatch& batch) const {
  return model_.recordable() && batch.offsets.back() <= kRecordedTokens &&
         static_cast<std::int64_t>(batch.sequences()) <= kRecordedSequences;
}

DeviceEncoder::Entered DeviceEncoder::enter(const HostBatch& batch) const {
  Entered entered = {numbers(batch.sequences()), batch.offsets, send_batch(batch, model_.device()), {}};
  entered.states = model_.enter(entered.layout, extent_of(batch.offsets, batch.sequences()));
  return entered;
}

DeviceEncoder::Entered DeviceEncoder::enter_recorded(const HostBatch& batch) const {
  const Extent room = round_up(extent_of(batch.offsets, batch.sequences()));
  if (!recorded_.integers.defined()) {
    const auto make = [&](at::IntArrayRef sizes, at::ScalarType dtype) {
      return at::empty(sizes, at::TensorOptions(model_.device()).dtype(dtype));
    };
    const Extent largest = {kRecordedSequences, kRecordedTokens, kRecordedSequences,
                            kRecordedTokens / kLargeTile + kRecordedSequences};
    recorded_.integers = make({DeviceBatch::size_of(largest, true)}, at::kInt);
    recorded_.entry = make({kRecordedTokens, config_.hidden_size}, model_.dtype());
    recorded_.probabilities = make({kRecordedSequences, 3}, at::kFloat);
    recorded_.dense = make({kRecordedSequences, config_.embedding_size}, at::kFloat);
  }
  const std::int64_t size = DeviceBatch::size_of(room, true);
  auto host = staging({size}, at::kInt, model_.device());
  write_batch(batch, room, {host.mutable_data_ptr<std::int32_t>(), static_cast<std::size_t>(size)});
  const auto integers = recorded_.integers.narrow(0, 0, size);
  integers.copy_(host, /*non_blocking=*/true);
  Entered entered = {numbers(batch.sequences()), batch.offsets, DeviceBatch::view(integers, room, true), {}};
  const auto states = recorded_.entry.narrow(0, 0, room.tokens);
  graphs_.run({0, room}, [&] {
    states.copy_(model_.enter(entered.layout, room));
    if (router_) recorded_.probabilities.narrow(0, 0, room.sequences).copy_(route(states, entered.layout.borders));
  });
  entered.states = recorded_.entry.narrow(0, 0, batch.offsets.back());
  return entered;
}

at::Tensor DeviceEncoder::route(const at::Tensor& entry, const at::Tensor& borders) const {
  const auto lengths = at::diff(borders).to(at::kFloat);
  const auto features = at::cat({segment_mean(entry, borders), lengths.log().unsqueeze(1)}, 1);
  return at::softmax(router_logits(features, *router_), 1);
}

at::Tensor DeviceEncoder::router_probabilities(const HostBatch& batch) const {
  const std::lock_guard turn(mutex_);
  const c10::StreamGuard stream(stream_);
  const Entered entered = enter(batch);
  return route(entered.states, entered.layout.borders).cpu();
}

void DeviceEncoder::sort_by_depth(Entered& entered, std::span<const int> depths) const {
  if (std::is_sorted(depths.begin(), depths.end(), std::greater<>())) return;
  entered.order = deepest_first(depths);
  const auto count = static_cast<std::int64_t>(entered.order.size());
  auto moves = staging({2, count}, at::kLong, model_.device());
  auto* shift = moves.mutable_data_ptr<std::int64_t>();
  auto* length = shift + count;
  std::vector<std::int64_t> offsets = {0};
  for (const std::size_t i : entered.order) {
    *shift++ = entered.offsets[i] - offsets.back();
    *length = entered.offsets[i + 1] - entered.offsets[i];
    offsets.push_back(offsets.back() + *length++);
  }
  // Row numbers of the tokens are made on the device: the host takes longer, and the device would wait for it.
  const auto sent = moves.to(model_.device(), /*non_blocking=*/true);
  const auto shifts = at::repeat_interleave(sent.select(0, 0), sent.select(0, 1), 0, offsets.back());
  entered.states = gather_rows(entered.states, shifts + at::arange(offsets.back(), shifts.options()));
  entered.offsets = std::move(offsets);
  entered.layout = send_layout(entered.offsets, model_.device());
}

at::Tensor DeviceEncoder::finish(const Entered& entered, std::span<const int> depths) const {
  return model_.finish(entered.states, entered.layout, entered.offsets, reach_of(entered.offsets, depths));
}

at::Tensor DeviceEncoder::finish_recorded(const Entered& entered, int depth) const {
  const Extent room = round_up(extent_of(entered.offsets, entered.offsets.size() - 1));
  const auto entry = recorded_.entry.narrow(0, 0, room.tokens);
  const auto dense = recorded_.dense.narrow(0, 0, room.sequences);
  graphs_.run({depth, room}, [&] {
    const std::vector<Extent> reach(static_cast<std::size_t>(depth), room);
    dense.copy_(embed_dense(model_.finish(entry, entered.layout, {}, reach), entered.layout.borders));
  });
  return dense.narrow(0, 0, static_cast<std::int64_t>(entered.offsets.size()) - 1);
}

at::Tensor DeviceEncoder::embed_dense(const at::Tensor& hidden, const at::Tensor& borders) const {
  return dense_embedding(segment_mean(hidden, borders), head_);
}

at::Tensor DeviceEncoder::embed(const HostBatch& batch, std::span<const int> depths, bool routed) const {
  const std::lock_guard turn(mutex_);
  const std::vector<std::size_t> given = routed ? numbers(batch.sequences()) : deepest_first(depths);
  HostBatch sorted;
  if (!routed) {
    for (const std::size_t i : given) {
      const auto begin = batch.tokens.begin() + batch.offsets[i];
      sorted.append({begin, batch.tokens.begin() + batch.offsets[i + 1]}, batch.roles[i]);
    }
  }
  auto entered = enter(routed ? batch : sorted);
  if (routed) {  // waits, as for the decision
    const at::Tensor& borders = entered.layout.borders;
    const auto asked = router_ ? route(entered.states, borders) : segment_mean(entered.states, borders);
    (void)asked.narrow(1, 0, 3).cpu();
  }
  const auto by_place = in_order(depths, given);
  if (routed) sort_by_depth(entered, by_place);
  const auto dense = embed_dense(finish(entered, in_order(by_place, entered.order)), entered.layout.borders);
  std::vector<std::int64_t> place(batch.sequences());
  for (std::size_t i = 0; i < place.size(); ++i) place[given[entered.order[i]]] = static_cast<std::int64_t>(i);
  return gather_rows(dense, to_device(at::tensor(place, at::kLong), model_.device()));
}

}  // namespace taesr
