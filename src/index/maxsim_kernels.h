#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace taesr {

/// Query tokens are in groups of this many, filled up with zeros.
inline constexpr std::size_t kMaxSimGroup = 16;

/// best[i] = the larger of best[i] and the product of query token i of a group with any of the tokens.
/// `group` is [dimension, 16]: one dimension of all query tokens after the other; `tokens` is
/// [count, dimension].
using MaxProducts = void (*)(const float* group, std::size_t dimension, const float* tokens, std::size_t count,
                             float* best);

/// The fastest that this machine runs, chosen once.
[[nodiscard]] MaxProducts best_max_products();

/// All that this machine runs, by name, the fastest first; "portable" is always the last.
[[nodiscard]] std::vector<std::pair<std::string, MaxProducts>> max_products();

}  // namespace taesr
