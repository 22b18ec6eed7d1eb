#include "taesr/fusion.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_map>
#include <unordered_set>

#include "taesr/errors.h"

namespace taesr {
namespace {

/// Scores are float32: a spread that is this small beside them is rounding.
constexpr double kSmallestSpread = 1e-6;

void check_lists(std::span<const HeadList> lists) {
  std::unordered_set<std::string> heads;
  for (const HeadList& list : lists) {
    if (!heads.insert(list.head).second) {
      throw InvalidArgument("two lists of head '" + list.head + "'; one is allowed");
    }
    std::unordered_set<std::int64_t> seen;
    for (const Candidate& candidate : list.candidates) {
      if (!std::isfinite(candidate.score)) {
        throw InvalidArgument("the list of head '" + list.head + "' has a score of " +
                              std::to_string(candidate.score) + " for chunk " +
                              std::to_string(candidate.chunk) + "; scores must be finite");
      }
      if (!seen.insert(candidate.chunk).second) {
        throw InvalidArgument("the list of head '" + list.head + "' names chunk " +
                              std::to_string(candidate.chunk) + " twice");
      }
    }
  }
}

std::vector<std::int64_t> union_of(std::span<const HeadList> lists) {
  std::vector<std::int64_t> chunks;
  for (const HeadList& list : lists) {
    for (const Candidate& candidate : list.candidates) chunks.push_back(candidate.chunk);
  }
  std::sort(chunks.begin(), chunks.end());
  chunks.erase(std::unique(chunks.begin(), chunks.end()), chunks.end());
  return chunks;
}

/// Writes one list's column of [chunks, columns].
void standardise(const HeadList& list, std::span<const std::int64_t> chunks, std::size_t column,
                 std::size_t columns, std::vector<double>& values) {
  if (list.candidates.empty()) return;
  double lowest = std::numeric_limits<double>::infinity();
  for (const Candidate& candidate : list.candidates) lowest = std::min(lowest, double{candidate.score});
  std::vector<double> scores(chunks.size(), lowest);
  for (const Candidate& candidate : list.candidates) {
    const auto position = std::lower_bound(chunks.begin(), chunks.end(), candidate.chunk) - chunks.begin();
    scores[static_cast<std::size_t>(position)] = candidate.score;
  }
  const auto n = static_cast<double>(scores.size());
  double mean = 0;
  for (const double score : scores) mean += score / n;
  double variance = 0;
  for (const double score : scores) variance += (score - mean) * (score - mean) / n;
  const double deviation = std::sqrt(variance);
  if (deviation <= kSmallestSpread * std::max(1.0, std::abs(mean))) return;
  for (std::size_t i = 0; i < scores.size(); ++i) {
    values[i * columns + column] = (scores[i] - mean) / deviation;
  }
}

double weight_of(const FusionOptions& options, const std::string& head) {
  const auto found = options.weights.find(head);
  return found == options.weights.end() ? 1 : found->second;
}

std::vector<FusedCandidate> unscored(std::span<const std::int64_t> chunks, std::size_t lists) {
  std::vector<FusedCandidate> fused;
  fused.reserve(chunks.size());
  for (const std::int64_t chunk : chunks) fused.push_back({chunk, 0, std::vector<double>(lists)});
  return fused;
}

std::vector<FusedCandidate> share_by_rank(std::span<const HeadList> lists, const FusionOptions& options) {
  const std::vector<std::int64_t> chunks = union_of(lists);
  std::vector<FusedCandidate> fused = unscored(chunks, lists.size());
  for (std::size_t l = 0; l < lists.size(); ++l) {
    const double weight = weight_of(options, lists[l].head);
    for (std::size_t i = 0; i < lists[l].candidates.size(); ++i) {
      const std::int64_t chunk = lists[l].candidates[i].chunk;
      const auto position = std::lower_bound(chunks.begin(), chunks.end(), chunk) - chunks.begin();
      const double rank = static_cast<double>(i) + 1;
      fused[static_cast<std::size_t>(position)].shares[l] = weight / (options.rrf_k + rank);
    }
  }
  return fused;
}

std::vector<FusedCandidate> share_by_score(std::span<const HeadList> lists, const FusionOptions& options) {
  const StandardScores standard = standard_scores(lists);
  std::vector<FusedCandidate> fused = unscored(standard.chunks, lists.size());
  for (std::size_t l = 0; l < lists.size(); ++l) {
    const double weight = weight_of(options, lists[l].head);
    for (std::size_t i = 0; i < fused.size(); ++i) {
      fused[i].shares[l] = weight * standard.values[i * lists.size() + l];
    }
  }
  return fused;
}

}  // namespace

FusionMethod parse_fusion_method(const std::string& name) {
  if (name == "rrf") return FusionMethod::kReciprocalRank;
  if (name == "weighted") return FusionMethod::kWeighted;
  throw InvalidArgument("fusion '" + name + "'; it must be rrf or weighted");
}

void check_fusion(const FusionOptions& options, std::span<const std::string> heads) {
  if (!(options.rrf_k >= 0) || !std::isfinite(options.rrf_k)) {
    throw InvalidArgument("rrf_k is " + std::to_string(options.rrf_k) + "; it must be 0 or larger");
  }
  for (const auto& [head, weight] : options.weights) {
    if (!(weight >= 0) || !std::isfinite(weight)) {
      throw InvalidArgument("the weight of head '" + head + "' is " + std::to_string(weight) +
                            "; it must be 0 or larger, and finite");
    }
  }
  double sum = 0;
  for (const std::string& head : heads) {
    if (options.method == FusionMethod::kWeighted && !options.weights.contains(head)) {
      throw InvalidArgument("weighted fusion has no weight for head '" + head +
                            "'; give one for each head, or fit them with taesr.retrieval.fit_fusion");
    }
    sum += weight_of(options, head);
  }
  if (!heads.empty() && sum <= 0) {
    throw InvalidArgument("the weights of all heads are 0; at least one must be above");
  }
}

StandardScores standard_scores(std::span<const HeadList> lists) {
  check_lists(lists);
  StandardScores standard{union_of(lists), {}};
  standard.values.resize(standard.chunks.size() * lists.size());
  for (std::size_t l = 0; l < lists.size(); ++l) {
    standardise(lists[l], standard.chunks, l, lists.size(), standard.values);
  }
  return standard;
}

std::vector<FusedCandidate> fuse(std::span<const HeadList> lists, const FusionOptions& options) {
  std::vector<std::string> heads;
  for (const HeadList& list : lists) heads.push_back(list.head);
  check_fusion(options, heads);
  check_lists(lists);
  const bool weighted = options.method == FusionMethod::kWeighted;
  auto fused = weighted ? share_by_score(lists, options) : share_by_rank(lists, options);
  for (FusedCandidate& candidate : fused) {
    for (const double share : candidate.shares) candidate.score += share;
  }
  std::sort(fused.begin(), fused.end(), [](const FusedCandidate& a, const FusedCandidate& b) {
    return a.score != b.score ? a.score > b.score : a.chunk < b.chunk;
  });
  return fused;
}

}  // namespace taesr
