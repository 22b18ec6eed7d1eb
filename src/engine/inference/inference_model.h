#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include <ATen/core/Tensor.h>

#include "model/packed_layout.h"
#include "model/weights.h"
#include "taesr/config.h"

namespace taesr {

/// The arithmetic of model/forward.h for inference on processors with AVX-512: weights prepacked at load,
/// kernels of our own, memory that passes reuse. A thread takes whole sequences through all layers, while
/// their states stay in its caches; the threads share the sequences where these are few.
///
/// Const methods are safe concurrently.
class InferenceModel {
 public:
  /// Null where `encoder_states` computes instead: other processors (those with AMX too, for bfloat16: ATen
  /// uses it), token routing, and sizes that are no multiple of the kernels' panels.
  /// All matrices of `weights` have one dtype, float32 or bfloat16, which is that of all states.
  [[nodiscard]] static std::unique_ptr<const InferenceModel> create(const TAESRConfig& config, const EncoderWeights& weights);

  InferenceModel() = default;
  InferenceModel(const InferenceModel&) = delete;
  InferenceModel& operator=(const InferenceModel&) = delete;
  virtual ~InferenceModel() = default;

  /// States before the recursion [T, hidden]. Throws InvalidArgument for an empty batch, and sequences that are
  /// empty or too long.
  [[nodiscard]] virtual at::Tensor entry_states(const PackedBatch& batch) const = 0;

  /// The last layer's states [T, hidden] after `recursions`, from what `entry_states` gave.
  [[nodiscard]] virtual at::Tensor states_from_entry(const at::Tensor& entry, std::span<const std::int64_t> offsets,
                                                     int recursions) const = 0;

  /// Mean of each sequence's states: float32 [B, hidden].
  [[nodiscard]] virtual at::Tensor pooled_mean(const at::Tensor& hidden, std::span<const std::int64_t> offsets) const = 0;
};

}  // namespace taesr
