#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "taesr/embedder.h"

namespace taesr {

/// A query on its way through a search.
struct QueryVector {
  std::string text;
  std::string depth;          // to embed it at
  std::vector<float> values;  // once embedded
  int used_depth = 0;
  double milliseconds = 0;    // its share of the batches that it was embedded in
};

/// Embeds queries, those of equal depth together. Throws InvalidArgument where the embedder gives other
/// than one vector for each.
void embed_queries(const Embedder& embedder, const std::vector<QueryVector*>& queries);

}  // namespace taesr
