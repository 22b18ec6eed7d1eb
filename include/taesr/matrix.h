#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace taesr {

/// Dense row-major float32 matrix [rows, columns] that owns its values.
struct Matrix {
  std::size_t rows = 0;
  std::size_t columns = 0;
  std::vector<float> values;  // rows * columns

  Matrix() = default;
  Matrix(std::size_t rows, std::size_t columns) : rows(rows), columns(columns), values(rows * columns) {}

  [[nodiscard]] std::span<float> row(std::size_t i) { return {values.data() + i * columns, columns}; }
  [[nodiscard]] std::span<const float> row(std::size_t i) const { return {values.data() + i * columns, columns}; }
};

}  // namespace taesr
