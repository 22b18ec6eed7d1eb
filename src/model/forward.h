#pragma once

#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

#include "model/packed_layout.h"
#include "model/weights.h"
#include "taesr/config.h"
#include "taesr/export.h"

namespace taesr {

struct ForwardOptions {
  bool checkpoint_layers = false;  // compute each layer again in the backward pass instead of keeping its insides
};

/// What the token router did before one recursion.
struct RoutedRecursion {
  double active_share = 1;  // of the tokens
  at::Tensor scores;        // float [T], differentiable; those of tokens that had stopped count for nothing
  at::Tensor active;        // int64 [A], the tokens that went on, ascending
};

struct EncoderStates {
  at::Tensor entry;                      // [T, hidden_size], after the last entry layer
  std::vector<at::Tensor> hidden;        // one [T, hidden_size] for each depth that was asked for, in that order
  std::vector<RoutedRecursion> routing;  // by recursion run; empty without token routing
};

/// The encoder: a function of config, weights and tokens, the same for training and inference.
/// Differentiable in the weights. The states have the dtype of the layers' products.
///
/// `depths` are recursions, from 1 to config.max_recursions(). In the cycle schemes all of them come
/// from one pass to the deepest; in the sequence schemes they have only the entry layers in common.
/// Throws InvalidArgument for depths out of range and for a batch that does not fit its layout.
[[nodiscard]] TAESR_API EncoderStates encoder_states(const TAESRConfig& config, const EncoderWeights& weights,
                                                     const PackedBatch& batch, const PackedLayout& layout,
                                                     std::span<const int> depths, const ForwardOptions& options = {});

/// The same for a batch whose layout is of no further use.
[[nodiscard]] TAESR_API EncoderStates encoder_states(const TAESRConfig& config, const EncoderWeights& weights,
                                                     const PackedBatch& batch, std::span<const int> depths,
                                                     const ForwardOptions& options = {});

/// States before the recursion [T, hidden_size]: embeddings, their norm, the entry layers.
[[nodiscard]] TAESR_API at::Tensor entry_states(const TAESRConfig& config, const EncoderWeights& weights,
                                                const PackedBatch& batch, const PackedLayout& layout,
                                                const ForwardOptions& options = {});

/// What `encoder_states` gives, from states that `entry_states` has given.
[[nodiscard]] TAESR_API EncoderStates encoder_states_from_entry(const TAESRConfig& config,
                                                                const EncoderWeights& weights, at::Tensor entry,
                                                                const PackedLayout& layout,
                                                                std::span<const int> depths,
                                                                const ForwardOptions& options = {});

/// The last layer's states [T, hidden_size] with a depth for each sequence, `depths` [B]: sequences of
/// one depth are computed together, from their rows of `entry` [T, hidden_size].
[[nodiscard]] TAESR_API at::Tensor states_at_depths(const TAESRConfig& config, const EncoderWeights& weights,
                                                    const at::Tensor& entry, const PackedLayout& layout,
                                                    std::span<const int> depths);

struct EncoderOutput {
  at::Tensor hidden;  // [T, hidden_size], the last layer's states
  at::Tensor pooled;  // float32 [B, embedding_size], unit rows
};

/// States and dense embedding at one depth.
[[nodiscard]] TAESR_API EncoderOutput encoder_forward(const TAESRConfig& config, const EncoderWeights& weights,
                                                      const PackedBatch& batch, int recursions);

}  // namespace taesr
