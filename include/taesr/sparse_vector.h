#pragma once

#include <vector>

namespace taesr {

/// Weight of one vocabulary piece in a text, above zero.
struct PieceWeight {
  int piece = 0;
  float weight = 0;

  bool operator==(const PieceWeight&) const = default;
};

/// A text over the vocabulary: pieces ascending, each once; pieces that are not there weigh nothing.
using SparseVector = std::vector<PieceWeight>;

}  // namespace taesr
