#pragma once

#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <ATen/core/Tensor.h>
#include <c10/core/Stream.h>

#include "engine/cuda/device_batch.h"
#include "engine/cuda/device_model.h"
#include "engine/cuda/graph_cache.h"
#include "engine/loaded_model.h"
#include "engine/schedule.h"
#include "engine/window_depths.h"
#include "engine/window_outputs.h"
#include "taesr/export.h"

namespace taesr {

/// "cpu", "cuda" or "cuda:N". Throws InvalidArgument for anything else, for a build without CUDA, and for a GPU
/// that is not there or too old.
[[nodiscard]] TAESR_API at::Device parse_device(const std::string& name);

/// A model folder for a DeviceEncoder: weights on the host, float32, with nothing packed for the processor.
/// `precision` must be one that GPUs take: auto (which is bfloat16), float32 or bfloat16.
[[nodiscard]] LoadedModel load_model_for_device(const std::filesystem::path& folder, Precision precision);

/// The engine behind an Encoder on a GPU: batches of up to 256k tokens in which texts of all depths go together,
/// results copied to the host while the next batch is computed, recorded graphs for small batches.
///
/// Passes of several threads take turns.
class TAESR_API DeviceEncoder {
 public:
  DeviceEncoder(const TAESRConfig& config, const EncoderWeights& weights, at::ScalarType dtype, at::Device device);
  DeviceEncoder(const DeviceEncoder&) = delete;
  DeviceEncoder& operator=(const DeviceEncoder&) = delete;
  ~DeviceEncoder();

  /// One call of Encoder::encode: its windows, from their ids to the outputs of their heads.
  class Call;

  /// Probabilities of easy, medium and hard: float32 [sequences, 3], on the host.
  [[nodiscard]] at::Tensor router_probabilities(const HostBatch& batch) const;

  /// Dense embeddings, float32 [sequences, embedding size] on the device, on the current stream, of one sequence
  /// or more. `routed`: as where a router decides, depths are known only after the entry layers, and the router is asked if there is one.
  [[nodiscard]] at::Tensor embed(const HostBatch& batch, std::span<const int> depths, bool routed) const;

  [[nodiscard]] const DeviceModel& model() const { return model_; }
  [[nodiscard]] std::size_t graph_replays() const { return graphs_.replays(); }

 private:
  /// A batch after its entry layers, the deepest sequences first once its depths are known.
  struct Entered {
    std::vector<std::size_t> order;     // sequence i of it is sequence order[i] of the batch as it was
    std::vector<std::int64_t> offsets;
    DeviceBatch layout;
    at::Tensor states;                  // [tokens, hidden]
  };

  /// Memory that recorded graphs read and write.
  struct Recorded {
    at::Tensor integers;       // DeviceBatch
    at::Tensor entry;          // [tokens, hidden]
    at::Tensor probabilities;  // float32 [sequences, 3]
    at::Tensor dense;          // float32 [sequences, embedding size]
  };

  [[nodiscard]] Entered enter(const HostBatch& batch) const;
  [[nodiscard]] Entered enter_recorded(const HostBatch& batch) const;
  void sort_by_depth(Entered& entered, std::span<const int> depths) const;  // depths: of the batch as it was
  [[nodiscard]] at::Tensor finish(const Entered& entered, std::span<const int> depths) const;
  [[nodiscard]] at::Tensor finish_recorded(const Entered& entered, int depth) const;
  [[nodiscard]] at::Tensor route(const at::Tensor& entry, const at::Tensor& borders) const;
  [[nodiscard]] at::Tensor embed_dense(const at::Tensor& hidden, const at::Tensor& borders) const;
  [[nodiscard]] bool records(const HostBatch& batch) const;

  const TAESRConfig config_;
  c10::Stream stream_;  // of this engine's own: graphs cannot be recorded on the default one
  DeviceModel model_;
  Affine head_;
  std::optional<SparseWeights> sparse_;
  at::Tensor table_;  // the token table, for the sparse head
  at::Tensor late_;
  std::optional<RouterWeights> router_;
  std::map<std::string, Affine> subspaces_;
  mutable std::mutex mutex_;
  mutable GraphCache graphs_;
  mutable Recorded recorded_;
};

/// Finishes batches one behind the other; with a deadline as the stages of `run_until`, one at a time.
class DeviceEncoder::Call final : public Stages {
 public:
  Call(const DeviceEncoder& encoder, std::span<const Window> windows, const EncodeOptions& options,
       WindowDepths& depths, WindowOutputs& outputs);
  ~Call() override;

  void run();

  at::Tensor enter(std::span<const std::size_t> chosen) override;
  void finish(std::span<const std::size_t> chosen, const at::Tensor& entry, int depth) override;

 private:
  struct Pending;

  [[nodiscard]] HostBatch pack(std::span<const std::size_t> chosen) const;
  [[nodiscard]] Pending launch(std::vector<std::size_t> chosen);
  [[nodiscard]] Pending read_heads(const Entered& entered, const at::Tensor& hidden, std::span<const int> depths,
                                   std::vector<std::size_t> chosen) const;
  [[nodiscard]] bool wants_dense_only() const;

  const DeviceEncoder& encoder_;
  std::span<const Window> windows_;
  const EncodeOptions& options_;
  WindowDepths& depths_;
  WindowOutputs& outputs_;
  std::unique_lock<std::mutex> turn_;
};

}  // namespace taesr
