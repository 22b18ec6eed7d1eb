#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace taesr {

/// Token ids of one pass through the model, special tokens included, and where its embedding belongs.
struct Window {
  std::size_t text = 0;
  std::vector<int> ids;
};

/// Windows of at most `size` tokens that a text of `length` is cut into.
[[nodiscard]] std::size_t window_count(std::size_t length, std::size_t size);

/// Cuts `length` tokens into windows of at most `size`, neighbours sharing about a fifth, all of
/// (nearly) equal length. Returns [begin, end) pairs; one empty window for no tokens.
[[nodiscard]] std::vector<std::pair<std::size_t, std::size_t>> window_spans(std::size_t length, std::size_t size);

/// Groups windows into batches of at most `budget` tokens, similar lengths together.
/// Returns indices into `windows`.
[[nodiscard]] std::vector<std::vector<std::size_t>> plan_batches(std::span<const Window> windows, std::size_t budget);

}  // namespace taesr
