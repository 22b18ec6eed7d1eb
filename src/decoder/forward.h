#pragma once

#include <span>
#include <vector>

#include "decoder/kv_cache.h"
#include "decoder/weights.h"

namespace taesr {

enum class LogitsOf { kNone, kLastToken, kAllTokens };

/// Throws InvalidArgument for ids outside the vocabulary and for more tokens than the model has positions.
void check_tokens(const DecoderConfig& config, std::span<const int> tokens);

/// Runs tokens through the decoder as the continuation of what `cache` holds, and adds them to it.
///
/// Ids are below vocab_size and cache.length() plus their number is at most max_positions: check_tokens.
/// Returns logits [1 or tokens, vocab_size].
[[nodiscard]] std::vector<float> decoder_forward(const DecoderConfig& config, const DecoderWeights& weights,
                                                 std::span<const int> tokens, KvCache& cache,
                                                 LogitsOf logits);

}  // namespace taesr
