#pragma once

#include <optional>
#include <span>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "engine/cuda/device_batch.h"
#include "kernels/norm_ops.h"
#include "kernels/tile_attention.h"
#include "model/weights.h"
#include "taesr/config.h"

namespace taesr {

/// The arithmetic of model/forward.h for inference on a GPU, through the operators of kernels/, which run on the
/// CPU too. Sequences of several depths go in one batch, the deepest first: those that have reached their depth
/// leave between recursions, and the others, always the first so many rows, need not move.
///
/// On CUDA in half precision gelu is the tanh form, which cuBLASLt computes behind its product; it differs by
/// less than 5e-4, under the rounding of bfloat16.
class DeviceModel {
 public:
  /// Copies the weights to `device`, those of products in `dtype`.
  DeviceModel(const TAESRConfig& config, const EncoderWeights& weights, at::ScalarType dtype, at::Device device);

  /// States before the recursion [tokens, hidden].
  [[nodiscard]] at::Tensor enter(const DeviceBatch& batch, const Extent& extent) const;

  /// The last layer's states [tokens, hidden]. `reach[r]` are the sequences that recursion r works on: all of
  /// them for r = 0, then never more. `offsets` are those of `layout`, on the host.
  [[nodiscard]] at::Tensor finish(const at::Tensor& entry, const DeviceBatch& layout,
                                  std::span<const std::int64_t> offsets, std::span<const Extent> reach) const;

  [[nodiscard]] at::Device device() const { return device_; }
  [[nodiscard]] at::ScalarType dtype() const { return dtype_; }

  /// Whether passes read nothing back to the host, so that they can be recorded.
  [[nodiscard]] bool recordable() const;

 private:
  struct Linear {
    at::Tensor weight;  // [in, out]
    at::Tensor bias;    // in the dtype of the states where the product adds it, float32 where the norm does
  };
  struct Products {
    Linear qkv, out, up, down;
  };
  struct Norms {
    NormVectors attention, mlp;
  };
  using Block = std::pair<Products, Norms>;

  [[nodiscard]] Linear linear(const Affine& affine, bool bias_in_norm) const;
  [[nodiscard]] Products products(const LayerWeights& weights) const;
  [[nodiscard]] Norms norms(const LayerNorms& norms) const;
  [[nodiscard]] NormVectors norm(const Affine& affine) const;

  void apply(at::Tensor& x, const std::vector<Block>& layers, const DeviceBatch& layout, const Extent& extent) const;
  void apply(at::Tensor& x, const Products& weights, const Norms& norms, const DeviceBatch& layout,
             const Extent& extent, const std::optional<Reinjection>& reinjection) const;
  void finish_layer(at::Tensor& x, const at::Tensor& attended, const Products& weights, const Norms& norms,
                    const std::optional<Reinjection>& reinjection) const;
  [[nodiscard]] at::Tensor attend(const TileAttention& call, const DeviceBatch& queries, const Extent& extent) const;
  void recur(at::Tensor& x, const at::Tensor& entry, const DeviceBatch& layout, std::span<const Extent> reach) const;

  const TAESRConfig config_;
  at::Device device_;
  at::ScalarType dtype_;
  at::Tensor token_, position_, role_;
  NormVectors embedding_norm_;
  std::vector<Block> entry_, refinement_, exit_;
  std::vector<Products> shared_;
  std::vector<std::vector<Norms>> shared_norms_;  // by layer, then recursion
  std::vector<at::Tensor> reinject_;              // float32 [hidden], by recursion
  at::Tensor router_weight_, router_bias_;        // float32, of token routing
};

}  // namespace taesr
