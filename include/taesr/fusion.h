#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "taesr/collection.h"
#include "taesr/export.h"

namespace taesr {

/// What one head found: candidates, best first, each chunk once.
struct HeadList {
  std::string head;  // such as "dense", "keyword", "sparse" or "late"
  std::vector<Candidate> candidates;
};

enum class FusionMethod {
  kReciprocalRank,  // weight / (rrf_k + rank), ranks from 1 (Cormack et al. 2009)
  kWeighted,        // weight * standard score: see standard_scores
};

/// "rrf" or "weighted"; throws InvalidArgument for anything else.
[[nodiscard]] TAESR_API FusionMethod parse_fusion_method(const std::string& name);

/// How the lists of several heads become one.
struct FusionOptions {
  FusionMethod method = FusionMethod::kReciprocalRank;
  double rrf_k = 60;  // 0 or larger
  /// By head, 0 or larger and not all 0. The weighted method needs one for each list; reciprocal ranks
  /// weigh 1 where none is given.
  std::map<std::string, double> weights;
};

/// A chunk with its fused score, and what each list adds to it; the shares add up to the score exactly if
/// they are added in the order of the lists.
struct FusedCandidate {
  std::int64_t chunk = 0;
  double score = 0;
  std::vector<double> shares;  // by list
};

/// One list from several, best first; equal scores go by the smaller chunk id. Throws InvalidArgument for
/// options out of range, for scores that are not finite, and for a list that names a chunk or lists that
/// name a head twice.
[[nodiscard]] TAESR_API std::vector<FusedCandidate> fuse(std::span<const HeadList> lists,
                                                         const FusionOptions& options = {});

/// Scores of several heads on one scale.
struct StandardScores {
  std::vector<std::int64_t> chunks;  // that any list names, ascending
  std::vector<double> values;        // [chunks, lists], row by row
};

/// Each list's scores less their mean, divided by their standard deviation, both over the union of the
/// chunks: so a head counts by how far it tells this query's candidates apart, whatever its scale. A chunk
/// that a list lacks takes the list's lowest score, which it has at most. A list whose scores are all the
/// same tells nothing apart and has zeros; so has an empty one.
[[nodiscard]] TAESR_API StandardScores standard_scores(std::span<const HeadList> lists);

/// Throws InvalidArgument unless the options are in range and, for the weighted method, have a weight for
/// each of these heads.
TAESR_API void check_fusion(const FusionOptions& options, std::span<const std::string> heads);

}  // namespace taesr
