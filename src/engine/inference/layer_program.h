#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/cpu/avx512/linear.h"
#include "kernels/cpu/avx512/rows.h"
#include "kernels/cpu/int8/packed_linear.h"
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

/// A layer's products: each an avx512::PackedLinear, or an int8::PackedLinear.
template <class Linear>
struct PackedLayer {
  explicit PackedLayer(const LayerWeights& weights);

  Linear qkv;
  Linear out;
  Linear up;
  Linear down;
};

/// One layer application, of parts that PackedLayers owns.
template <class Linear>
struct LayerStep {
  const PackedLayer<Linear>* layer = nullptr;
  avx512::Norm attention_norm;
  avx512::Norm mlp_norm;
  const float* reinject = nullptr;  // [hidden]: how much of the entry states is added first, if any
};

/// All layers of a model prepacked, unrolled to a list of applications for each part of a pass.
template <class Linear>
class PackedLayers {
 public:
  PackedLayers(const TAESRConfig& config, const EncoderWeights& weights);
  PackedLayers(const PackedLayers&) = delete;
  PackedLayers& operator=(const PackedLayers&) = delete;

  [[nodiscard]] std::span<const LayerStep<Linear>> entry() const { return entry_; }
  /// From the entry states to the last ones, for 1 or more recursions.
  [[nodiscard]] std::span<const LayerStep<Linear>> from_entry(int recursions) const {
    return from_entry_[static_cast<std::size_t>(recursions) - 1];
  }

 private:
  struct Own {
    PackedLayer<Linear> layer;
    PackedNorm attention;
    PackedNorm mlp;
  };
  [[nodiscard]] std::vector<Own> pack(const std::vector<Layer>& layers, double eps) const;
  [[nodiscard]] LayerStep<Linear> shared_step(std::size_t k, int r, bool reinjects) const;
  static void append(std::vector<LayerStep<Linear>>& program, const std::vector<Own>& layers);

  std::vector<Own> own_entry_;
  std::vector<Own> own_refinement_;
  std::vector<Own> own_exit_;
  std::vector<PackedLayer<Linear>> shared_;
  std::vector<std::vector<std::pair<PackedNorm, PackedNorm>>> shared_norms_;  // by layer, then recursion
  at::Tensor reinject_;                                                       // float32 [recursions, hidden]
  std::vector<LayerStep<Linear>> entry_;
  std::vector<std::vector<LayerStep<Linear>>> from_entry_;  // by recursions - 1
};

}  // namespace taesr
