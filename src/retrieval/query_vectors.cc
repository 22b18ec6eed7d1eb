#include "retrieval/query_vectors.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <span>
#include <tuple>

#include "taesr/errors.h"

namespace taesr {

void embed_queries(const Embedder& embedder, const std::vector<QueryVector*>& queries) {
  using Clock = std::chrono::steady_clock;
  std::map<std::tuple<std::string, bool, bool>, std::vector<QueryVector*>> groups;
  for (QueryVector* query : queries) {
    groups[{query->depth, query->heads.sparse, query->heads.late}].push_back(query);
  }
  for (const auto& [kind, group] : groups) {
    const ExtraHeads& heads = group.front()->heads;
    const Clock::time_point start = Clock::now();
    std::vector<std::string> texts;
    for (const QueryVector* query : group) texts.push_back(query->text);
    Embeddings made = embedder.embed_all(texts, Role::kQuery, group.front()->depth, heads);
    const std::size_t count = group.size();
    if (made.vectors.rows != count || (heads.sparse && made.sparse.size() != count) ||
        (heads.late && made.late.size() != count)) {
      throw InvalidArgument("the embedder returned " + std::to_string(made.vectors.rows) + " vectors, " +
                            std::to_string(made.sparse.size()) + " sparse and " +
                            std::to_string(made.late.size()) + " late embeddings for " +
                            std::to_string(group.size()) + " queries");
    }
    const double spent = std::chrono::duration<double, std::milli>(Clock::now() - start).count();
    for (std::size_t i = 0; i < group.size(); ++i) {
      const auto row = made.vectors.row(i);
      group[i]->values.assign(row.begin(), row.end());
      if (heads.sparse) group[i]->sparse = std::move(made.sparse[i]);
      if (heads.late) group[i]->late = std::move(made.late[i]);
      group[i]->used_depth = made.depths.empty() ? 0 : made.depths[i];
      group[i]->milliseconds += spent / static_cast<double>(group.size());
    }
  }
}

}  // namespace taesr
