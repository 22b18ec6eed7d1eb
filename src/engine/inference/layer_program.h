#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/cpu/avx512/linear.h"
#include "kernels/cpu/avx512/rows.h"
#include "model/weights.h"
#include "taesr/config.h"

namespace taesr {

/// A norm's vectors in float32.
struct PackedNorm {
  PackedNorm(const Affine& affine, double eps);
  [[nodiscard]] avx512::Norm view() const;

  at::Tensor gain;
  at::Tensor shift;
  float eps;
};

template <class E>
struct PackedLayer {
  explicit PackedLayer(const LayerWeights& weights);

  avx512::PackedLinear<E> qkv;
  avx512::PackedLinear<E> out;
  avx512::PackedLinear<E> up;
  avx512::PackedLinear<E> down;
};

/// One layer application, of parts that PackedLayers owns.
template <class E>
struct LayerStep {
  const PackedLayer<E>* layer = nullptr;
  avx512::Norm attention_norm;
  avx512::Norm mlp_norm;
  const float* reinject = nullptr;  // [hidden]: how much of the entry states is added first, if any
};

/// All layers of a model prepacked, unrolled to a list of applications for each part of a pass.
template <class E>
class PackedLayers {
 public:
  PackedLayers(const TAESRConfig& config, const EncoderWeights& weights);
  PackedLayers(const PackedLayers&) = delete;
  PackedLayers& operator=(const PackedLayers&) = delete;

  [[nodiscard]] std::span<const LayerStep<E>> entry() const { return entry_; }
  /// From the entry states to the last ones, for 1 or more recursions.
  [[nodiscard]] std::span<const LayerStep<E>> from_entry(int recursions) const {
    return from_entry_[static_cast<std::size_t>(recursions) - 1];
  }

 private:
  struct Own {
    PackedLayer<E> layer;
    PackedNorm attention;
    PackedNorm mlp;
  };
  [[nodiscard]] std::vector<Own> pack(const std::vector<Layer>& layers, double eps) const;
  [[nodiscard]] LayerStep<E> shared_step(std::size_t k, int r, bool reinjects) const;
  static void append(std::vector<LayerStep<E>>& program, const std::vector<Own>& layers);

  std::vector<Own> own_entry_;
  std::vector<Own> own_refinement_;
  std::vector<Own> own_exit_;
  std::vector<PackedLayer<E>> shared_;
  std::vector<std::vector<std::pair<PackedNorm, PackedNorm>>> shared_norms_;  // by layer, then recursion
  at::Tensor reinject_;                                                       // float32 [recursions, hidden]
  std::vector<LayerStep<E>> entry_;
  std::vector<std::vector<LayerStep<E>>> from_entry_;  // by recursions - 1
};

}  // namespace taesr
