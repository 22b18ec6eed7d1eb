#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "taesr/embedder.h"
#include "taesr/matrix.h"
#include "taesr/sparse_vector.h"

namespace taesr {

/// A query on its way through a search.
struct QueryVector {
  std::string text;
  std::string depth;          // to embed it at
  ExtraHeads heads = {};      // to embed it for, beside the dense one
  std::vector<float> values;  // once embedded, like the next two
  SparseVector sparse = {};
  Matrix late = {};
  int used_depth = 0;
  double milliseconds = 0;    // its share of the batches that it was embedded in
};

/// Embeds queries, those of equal depth and heads together. Throws InvalidArgument where the embedder gives other
/// than one vector for each.
void embed_queries(const Embedder& embedder, const std::vector<QueryVector*>& queries);

}  // namespace taesr
