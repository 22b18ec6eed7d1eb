#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

#include "decoder/device/device_weights.h"
#include "decoder/device/kv_layout.h"
#include "decoder/device/staged.h"
#include "decoder/forward.h"
#include "engine/cuda/graph_cache.h"

namespace taesr {

/// Takes rows through a decoder's layers on a device, in memory that it keeps. Small batches are recorded, so
/// that a part of the model costs one launch: rows are padded to few sizes. Not for several threads at once.
class DeviceLayers {
 public:
  DeviceLayers(const DeviceWeights& model, KvCaching caching);

  /// Rows of one part of a step, on their way to the device.
  using Rows = std::vector<DecodeRow>;

  /// Makes room for a step; before its parts.
  void prepare(const std::vector<std::int64_t>& addresses, std::int64_t most_rows);

  // The parts of a step. `rows` are padded; states are kept in `states`.

  /// From the table through the layers before the recursions, to the states, and to the router.
  void start(Rows& rows, DecodeStates& states);
  /// From the states through one recursion and back, and to the router, which says who goes on: going().
  void recur(Rows& rows, DecodeStates& states);
  /// From the states through the layers after the recursions.
  void finish(Rows& rows, DecodeStates& states);

  /// Looks for the best `count` scores of some of finish()'s rows: best().
  void find_best(std::span<const std::int64_t> wanted, std::int64_t count);
  /// Logits float32 [wanted, vocabulary] of some of finish()'s rows, on the device until the next call.
  [[nodiscard]] at::Tensor score(std::span<const std::int64_t> wanted);

  // What the parts found, on the host. All three wait for the work on the current stream.

  /// What the router said about the first of recur()'s rows.
  [[nodiscard]] std::span<const std::int32_t> going(std::size_t rows);
  /// What find_best() found last, best first: `best` [wanted, count].
  void best(std::span<ScoredToken> best);
  void wait() const;

 private:
  /// Memory of a part's rows: parts of the buffers.
  struct Views {
    at::Tensor x, normed, qkv, attended, y, gate_up, inner, going, rows, parts;
  };
  enum class Part : int { kStart, kRecur, kFinish, kScore };

  void run(Part part, Rows& rows, DecodeStates& states);
  void work(Part part, Views& views, DecodeStates& states);
  void apply(std::int64_t layer, bool pending, Views& views);
  [[nodiscard]] Views view(Part part, std::int64_t count, std::int64_t splits) const;
  void record(Part part, std::int64_t rows, std::int64_t kind, const std::function<void()>& work);
  std::int64_t send_wanted(std::span<const std::int64_t> wanted);
  void score(std::int64_t rows);
  void reserve(std::int64_t rows);
  void reserve_parts(std::int64_t size);
  void forget_graphs();

  const DeviceWeights& model_;
  LayerStages stages_;
  KvLayout layout_;
  KvPages pages_;
  Staged addresses_;
  Staged rows_[3];  // by part
  Staged going_;
  Staged wanted_;       // rows whose scores are wanted
  Staged best_tokens_;  // of their scores
  Staged best_scores_;
  std::int64_t best_each_ = 1;
  std::int64_t capacity_ = 0;  // rows
  at::Tensor x_, normed_, qkv_, attended_, y_, gate_up_, inner_, parts_;
  at::Tensor scored_, logits_;  // of the wanted rows
  const void* states_ = nullptr;  // that the graphs know
  std::unique_ptr<GraphCache> graphs_;
};

}  // namespace taesr
