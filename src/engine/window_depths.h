#pragma once

#include <span>
#include <vector>

#include "engine/batching.h"
#include "model/packed_layout.h"
#include "model/weights.h"
#include "taesr/encoder.h"

namespace taesr {

/// How many recursions each window takes: one number for all, what a budget pays for, or what the router says
/// of its text.
class WindowDepths {
 public:
  WindowDepths(std::size_t windows, int recursions) : depths_(windows, recursions) {}

  /// What `by_text` says of each text.
  WindowDepths(std::span<const Window> windows, std::span<const int> by_text);

  /// Undecided as yet.
  WindowDepths(std::size_t windows, const TAESRConfig& config, const RouterWeights& router);

  /// Lets the router decide for those of the windows `chosen` that are undecided, from their entry states.
  void decide(std::span<const std::size_t> chosen, const at::Tensor& entry, const PackedLayout& layout);

  /// The same from what the router says of them: float32 [windows, 3] on the host, more rows don't matter.
  void decide(std::span<const std::size_t> chosen, const at::Tensor& probabilities);

  /// Gives all windows of a text what the deepest of them has.
  void join(std::span<const Window> windows);

  /// Takes the windows `chosen`, all decided, no deeper than `limit`.
  void lower(std::span<const std::size_t> chosen, int limit);

  [[nodiscard]] int of(std::size_t window) const { return depths_[window]; }
  [[nodiscard]] std::vector<int> of(std::span<const std::size_t> chosen) const;
  [[nodiscard]] bool decided(std::size_t window) const { return depths_[window] > 0; }

  /// Depths of texts, of several windows the least, and the router's probabilities where it was asked, into `result`.
  void report(std::span<const Window> windows, EncodeResult& result) const;

 private:
  const TAESRConfig* config_ = nullptr;
  const RouterWeights* router_ = nullptr;
  std::vector<int> depths_;  // 0: undecided
  Matrix probabilities_;     // [windows, 3], none without a router
};

}  // namespace taesr
