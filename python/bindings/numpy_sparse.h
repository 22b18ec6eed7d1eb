#pragma once

#include <cstdint>
#include <tuple>
#include <utility>
#include <vector>

#include <pybind11/numpy.h>

#include "taesr/sparse_vector.h"

namespace taesr {

using SparseArrays =
    std::tuple<pybind11::array_t<std::int64_t>, pybind11::array_t<std::int32_t>, pybind11::array_t<float>>;

/// Compressed sparse rows: row borders int64 [rows + 1], pieces int32 [entries], weights float32 [entries].
inline SparseArrays to_numpy(const std::vector<SparseVector>& rows) {
  std::size_t entries = 0;
  for (const SparseVector& row : rows) entries += row.size();
  pybind11::array_t<std::int64_t> borders(static_cast<pybind11::ssize_t>(rows.size() + 1));
  pybind11::array_t<std::int32_t> pieces(static_cast<pybind11::ssize_t>(entries));
  pybind11::array_t<float> weights(static_cast<pybind11::ssize_t>(entries));
  std::int64_t* border = borders.mutable_data();
  std::int32_t* piece = pieces.mutable_data();
  float* weight = weights.mutable_data();
  std::int64_t written = 0;
  *border++ = written;
  for (const SparseVector& row : rows) {
    for (const PieceWeight& entry : row) {
      *piece++ = entry.piece;
      *weight++ = entry.weight;
    }
    *border++ = written += static_cast<std::int64_t>(row.size());
  }
  return {std::move(borders), std::move(pieces), std::move(weights)};
}

}  // namespace taesr
