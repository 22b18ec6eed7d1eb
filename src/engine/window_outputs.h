#pragma once

#include <map>
#include <span>
#include <string>
#include <vector>

#include "engine/batching.h"
#include "taesr/encoder.h"

namespace taesr {

/// What the heads gave for each window; heads that nobody asked for gave nothing.
struct WindowOutputs {
  WindowOutputs(std::size_t windows, const TAESRConfig& config, const Outputs& wanted);

  Matrix dense;                      // unit rows [windows, dimension]
  std::vector<SparseVector> sparse;  // each of at most EncodeOptions::sparse_top pieces
  std::vector<Matrix> late;          // unit rows [tokens, late size]
  std::map<std::string, Matrix> subspaces;  // unit rows [windows, dimensions]
};

/// Outputs of texts from those of their windows, into `result`: dense vectors are averaged with the windows'
/// lengths as weights, cut to `dim` values and made unit again, and so are those of subspaces, but uncut;
/// sparse weights are the largest of any
/// window; late rows stand one window after another.
void merge_windows(std::span<const Window> windows, WindowOutputs outputs, std::size_t dim, std::size_t sparse_top,
                   EncodeResult& result);

}  // namespace taesr
