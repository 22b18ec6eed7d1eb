#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include <ATen/core/Tensor.h>

#include "model/packed_layout.h"
#include "model/weights.h"
#include "taesr/config.h"

namespace taesr {

/// The arithmetic of model/forward.h for inference: weights prepacked at load, kernels of our own. With AVX-512
/// memory that passes reuse, and a thread takes whole sequences through all layers, while their states stay in
/// its caches; the threads share the sequences where these are few.
///
/// Const methods are safe concurrently.
class InferenceModel {
 public:
  /// Null where `encoder_states` computes instead: other processors (those with AMX too, for bfloat16: ATen
  /// uses it), token routing, and sizes that are no multiple of the kernels' panels.
  /// All matrices of `weights` have one dtype, float32 or bfloat16, which is that of all states.
  [[nodiscard]] static std::unique_ptr<const InferenceModel> create(const TAESRConfig& config, const EncoderWeights& weights);

  /// The same with products of 8 bits (kernels/cpu/int8): for every processor and size, from weights of any floating
  /// dtype. Attention, norms and states are bfloat16 where that is fast, else float32. The token table is kept in
  /// 8 bits too. Throws InvalidArgument for token routing.
  [[nodiscard]] static std::unique_ptr<const InferenceModel> create_int8(const TAESRConfig& config,
                                                                         const EncoderWeights& weights);

  InferenceModel() = default;
  InferenceModel(const InferenceModel&) = delete;
  InferenceModel& operator=(const InferenceModel&) = delete;
  virtual ~InferenceModel() = default;

  /// Of all states.
  [[nodiscard]] virtual at::ScalarType dtype() const = 0;

  /// States before the recursion [T, hidden]. Throws InvalidArgument for an empty batch, and sequences that are
  /// empty or too long.
  [[nodiscard]] virtual at::Tensor entry_states(const PackedBatch& batch) const = 0;

  /// The last layer's states [T, hidden] after `recursions`, from what `entry_states` gave.
  [[nodiscard]] virtual at::Tensor states_from_entry(const at::Tensor& entry, std::span<const std::int64_t> offsets,
                                                     int recursions) const = 0;

  /// Mean of each sequence's states: float32 [B, hidden].
  [[nodiscard]] virtual at::Tensor pooled_mean(const at::Tensor& hidden, std::span<const std::int64_t> offsets) const = 0;

 protected:
  /// Throws InvalidArgument for arguments of `states_from_entry` that it cannot take.
  static void check_request(const TAESRConfig& config, const at::Tensor& entry, std::span<const std::int64_t> offsets,
                            int recursions);
};

}  // namespace taesr
