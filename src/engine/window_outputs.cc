#include "engine/window_outputs.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "kernels/sparse_pool.h"

namespace taesr {
namespace {

void add_scaled(std::span<float> sum, std::span<const float> row, float scale) {
  for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += scale * row[i];
}

void normalise(std::span<float> row) {
  double square = 0;
  for (const float value : row) square += static_cast<double>(value) * value;
  const auto scale = static_cast<float>(1.0 / std::max(std::sqrt(square), 1e-12));
  for (float& value : row) value *= scale;
}

Matrix average(std::span<const Window> windows, const Matrix& dense, std::size_t texts, std::size_t dim) {
  Matrix averages(texts, dim);
  for (std::size_t i = 0; i < windows.size(); ++i) {
    add_scaled(averages.row(windows[i].text), dense.row(i).first(dim), static_cast<float>(windows[i].ids.size()));
  }
  for (std::size_t text = 0; text < texts; ++text) normalise(averages.row(text));
  return averages;
}

/// Both ascending by piece; so is the result.
SparseVector larger_of(const SparseVector& a, const SparseVector& b) {
  SparseVector merged;
  merged.reserve(a.size() + b.size());
  auto left = a.begin();
  auto right = b.begin();
  while (left != a.end() && right != b.end()) {
    if (left->piece == right->piece) {
      merged.push_back({left->piece, std::max(left++->weight, right++->weight)});
    } else {
      merged.push_back(left->piece < right->piece ? *left++ : *right++);
    }
  }
  merged.insert(merged.end(), left, a.end());
  merged.insert(merged.end(), right, b.end());
  return merged;
}

void append_rows(Matrix& rows, Matrix&& more) {
  if (rows.values.empty()) {
    rows = std::move(more);
    return;
  }
  rows.values.insert(rows.values.end(), more.values.begin(), more.values.end());
  rows.rows += more.rows;
}

}  // namespace

WindowOutputs::WindowOutputs(std::size_t windows, const TAESRConfig& config, const Outputs& wanted) {
  if (wanted.dense) dense = Matrix(windows, static_cast<std::size_t>(config.embedding_size));
  for (const std::string& name : wanted.subspaces) {
    subspaces[name] = Matrix(windows, static_cast<std::size_t>(config.subspaces.at(name)));
  }
  if (wanted.sparse) sparse.resize(windows);
  if (wanted.late) late.resize(windows);
}

void merge_windows(std::span<const Window> windows, WindowOutputs outputs, std::size_t dim, std::size_t sparse_top,
                   EncodeResult& result) {
  const std::size_t texts = result.windows.size();
  if (outputs.dense.columns > 0) result.embeddings = average(windows, outputs.dense, texts, dim);
  for (const auto& [name, rows] : outputs.subspaces) {
    result.subspaces[name] = average(windows, rows, texts, rows.columns);
  }
  if (!outputs.sparse.empty()) result.sparse.resize(texts);
  if (!outputs.late.empty()) result.late.resize(texts);
  for (std::size_t i = 0; i < windows.size(); ++i) {
    const std::size_t text = windows[i].text;
    if (!outputs.sparse.empty()) result.sparse[text] = larger_of(result.sparse[text], outputs.sparse[i]);
    if (!outputs.late.empty()) append_rows(result.late[text], std::move(outputs.late[i]));
  }
  // A piece among the heaviest of the text is among the heaviest of the window that it comes from, so
  // cutting the windows first lost nothing.
  for (SparseVector& row : result.sparse) row = keep_heaviest(std::move(row), sparse_top);
}

}  // namespace taesr
