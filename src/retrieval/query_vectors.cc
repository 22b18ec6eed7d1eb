#include "retrieval/query_vectors.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <span>

#include "taesr/errors.h"

namespace taesr {

void embed_queries(const Embedder& embedder, const std::vector<QueryVector*>& queries) {
  using Clock = std::chrono::steady_clock;
  std::map<std::string, std::vector<QueryVector*>> groups;
  for (QueryVector* query : queries) groups[query->depth].push_back(query);
  for (const auto& [depth, group] : groups) {
    const Clock::time_point start = Clock::now();
    std::vector<std::string> texts;
    for (const QueryVector* query : group) texts.push_back(query->text);
    const Embeddings made = embedder.embed(texts, Role::kQuery, depth);
    if (made.vectors.rows != group.size()) {
      throw InvalidArgument("the embedder returned " + std::to_string(made.vectors.rows) + " vectors for " +
                            std::to_string(group.size()) + " queries");
    }
    const double spent = std::chrono::duration<double, std::milli>(Clock::now() - start).count();
    for (std::size_t i = 0; i < group.size(); ++i) {
      const auto row = made.vectors.row(i);
      group[i]->values.assign(row.begin(), row.end());
      group[i]->used_depth = made.depths.empty() ? 0 : made.depths[i];
      group[i]->milliseconds += spent / static_cast<double>(group.size());
    }
  }
}

}  // namespace taesr
