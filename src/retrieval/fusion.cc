#include <cmath>
#include <unordered_map>

#include "index/top_k.h"
#include "taesr/errors.h"
#include "taesr/retriever.h"

namespace taesr {

std::vector<Candidate> fuse_by_rank(const std::vector<std::vector<Candidate>>& lists, double k) {
  if (!(k >= 0) || !std::isfinite(k)) {
    throw InvalidArgument("rrf_k is " + std::to_string(k) + "; it must be 0 or larger");
  }
  std::unordered_map<std::int64_t, double> scores;
  for (const std::vector<Candidate>& list : lists) {
    for (std::size_t i = 0; i < list.size(); ++i)
      scores[list[i].chunk] += 1 / (k + static_cast<double>(i + 1));
  }
  TopK fused(scores.size());
  for (const auto& [chunk, score] : scores) fused.offer({chunk, static_cast<float>(score)});
  return fused.take();
}

}  // namespace taesr
