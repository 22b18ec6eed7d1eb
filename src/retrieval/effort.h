#pragma once

#include <cstddef>
#include <span>

#include "taesr/collection.h"

namespace taesr {

/// Candidates that the margin is taken from.
inline constexpr std::size_t kMarginAt = 10;

/// Whether the best of `candidates` (cosines, best first) is so little above the eleventh that a query
/// embedded at depth easy should be embedded again at depth hard: with `effort` e, 0 to 1, for a share of
/// about e of the queries.
///
/// Thresholds are quantiles of that difference over the queries of three retrieval sets, which
/// benchmarks/progressive_search.py prints. Where fewer than eleven chunks are found there is nothing to
/// lose a place to.
[[nodiscard]] bool margin_is_thin(std::span<const Candidate> candidates, double effort);

}  // namespace taesr
