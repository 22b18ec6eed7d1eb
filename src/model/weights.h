#pragma once

#include <cstdint>
#include <map>
#include <optional>
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

/// A layer of its own, before or after the shared ones.
struct Layer {
  LayerWeights weights;
  LayerNorms norms;
};

/// Parameters of the sparse head beside the token table.
struct SparseWeights {
  Affine transform;  // [hidden, hidden]
  Affine norm;
  at::Tensor bias;   // [vocabulary]
  at::Tensor idf;    // [vocabulary]
};

/// Two layers that guess the depth which a text needs.
struct RouterWeights {
  Affine hidden;  // [router_size, hidden + 1]
  Affine out;     // [3, router_size]
};

/// One score a token for each recursion.
struct TokenRouterWeights {
  at::Tensor weight;  // [recursions, hidden]
  at::Tensor bias;    // [recursions]; token choice only
};

/// A WeightMap with its names resolved. Heads that the config does not ask for are empty.
struct TAESR_API EncoderWeights {
  at::Tensor token;     // [vocabulary, hidden]
  at::Tensor position;  // [positions, hidden]
  at::Tensor role;      // [2, hidden], by taesr::Role
  Affine embedding_norm;
  std::vector<Layer> entry;
  std::vector<LayerWeights> shared;                   // by layer of the block
  std::vector<std::vector<LayerNorms>> shared_norms;  // by layer, then recursion
  at::Tensor reinject;                                // [recursions, hidden]
  std::vector<Layer> refinement;
  std::vector<Layer> exit;
  Affine head;
  std::optional<SparseWeights> sparse;
  at::Tensor late;  // [late_size, hidden]
  std::optional<RouterWeights> router;
  std::map<std::string, Affine> subspaces;  // by name: [dimensions, hidden]
  std::optional<TokenRouterWeights> token_router;

  /// Throws InvalidArgument that names a missing, unknown or misshapen weight; `origin` stands in it.
  [[nodiscard]] static EncoderWeights resolve(const TAESRConfig& config, const WeightMap& weights,
                                              const std::string& origin);
};

}  // namespace taesr
