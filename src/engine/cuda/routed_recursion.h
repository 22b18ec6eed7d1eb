#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

#include "engine/cuda/device_batch.h"
#include "taesr/config.h"

namespace taesr {

/// The token router's parameters, float32 on the device.
struct TokenScores {
  at::Tensor weight;  // [recursions, hidden]
  at::Tensor bias;    // [recursions]; of token choice only
};

/// Recursions that work on some of the tokens (Mixture-of-Recursions, arXiv 2507.10524). Active tokens are
/// compacted, pass the shared layers, and go back to their rows. Keys and values of each shared layer are
/// cached: those of a token that has stopped are computed once, and appended then.
class RoutedTokens {
 public:
  /// Attention of the active tokens, from their joint product [active, 3 * hidden].
  using Attend = std::function<at::Tensor(const at::Tensor& qkv)>;

  /// The shared layers, by number.
  struct Layers {
    std::function<void(std::size_t layer, const Attend& attend, at::Tensor& moved)> apply;  // in place
    std::function<at::Tensor(std::size_t layer, const at::Tensor& rows)> keys_values;       // [rows, 2 * hidden]
  };

  /// `layout` and `offsets` are of the whole batch, and outlive this.
  RoutedTokens(const TAESRConfig& config, const TokenScores& scores, const DeviceBatch& layout,
               std::span<const std::int64_t> offsets, std::size_t layers);

  /// Recursion `r` (0, 1, ... in turn) of the first sequences of the states x, in place.
  void recur(at::Tensor& x, const at::Tensor& entry, int r, const Extent& extent, const at::Tensor& reinject,
             const Layers& layers);

 private:
  struct Active {
    at::Tensor rows;                    // int64 [active]
    std::vector<std::int64_t> offsets;  // of the sequences in it
  };

  [[nodiscard]] Active choose(const at::Tensor& scores, int r, const Extent& extent) const;
  void cache_stopped(const at::Tensor& states, const Active& active, const Extent& extent, const Layers& layers);
  [[nodiscard]] at::Tensor attend(const at::Tensor& qkv, at::Tensor& cache, const Active& active,
                                  const DeviceBatch& queries) const;

  const TAESRConfig& config_;
  const TokenScores& scores_;
  const DeviceBatch& layout_;
  std::span<const std::int64_t> offsets_;
  at::Tensor borders_;                // int64 [sequences + 1], on the device
  at::Tensor going_;                  // bool [tokens], who has not stopped yet
  std::vector<std::int64_t> active_;  // borders of the sequences among those
  std::vector<at::Tensor> cache_;     // by layer: [tokens, 2 * hidden]
};

}  // namespace taesr
