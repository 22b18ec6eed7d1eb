#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <ATen/core/Tensor.h>

#include "taesr/config.h"
#include "taesr/export.h"

namespace taesr {

using WeightMap = std::map<std::string, at::Tensor>;

/// Names and shapes of every weight of a model with this config, in the order of the computation.
[[nodiscard]] TAESR_API std::vector<std::pair<std::string, std::vector<std::int64_t>>> weight_shapes(const TAESRConfig& config);

struct Affine {
  at::Tensor weight;
  at::Tensor bias;
};

/// The products of one layer. Shared layers have one set for all recursions.
struct LayerWeights {
  Affine qkv;   // [3 * hidden, hidden]
  Affine out;   // [hidden, hidden]
  Affine up;    // [intermediate, hidden]
  Affine down;  // [hidden, intermediate]
};

/// The norms of one layer application; every recursion has its own.
struct LayerNorms {
  Affine attention;
  Affine mlp;
};

/// A WeightMap with its names resolved.
struct TAESR_API EncoderWeights {
  at::Tensor token;     // [vocabulary, hidden]
  at::Tensor position;  // [positions, hidden]
  at::Tensor role;      // [2, hidden], by taesr::Role
  Affine embedding_norm;
  LayerWeights entry;
  LayerNorms entry_norms;
  std::vector<LayerWeights> shared;                  // by layer of the cycle
  std::vector<std::vector<LayerNorms>> shared_norms;  // by layer, then recursion
  at::Tensor reinject;                               // [recursions, hidden]
  LayerWeights exit;
  LayerNorms exit_norms;
  Affine head;

  /// Throws InvalidArgument that names a missing, unknown or misshapen weight; `origin` stands in it.
  [[nodiscard]] static EncoderWeights resolve(const TAESRConfig& config, const WeightMap& weights,
                                              const std::string& origin);
};

}  // namespace taesr
