#pragma once

#include <memory>
#include <utility>

#include <pybind11/numpy.h>

#include "taesr/matrix.h"

namespace taesr {

/// Hands a matrix over to NumPy without copying its values. float32 [rows, columns].
inline pybind11::array_t<float> to_numpy(Matrix&& matrix) {
  auto owned = std::make_unique<Matrix>(std::move(matrix));
  float* values = owned->values.data();
  const std::size_t rows = owned->rows;
  const std::size_t columns = owned->columns;
  const pybind11::capsule owner(owned.release(), [](void* pointer) { delete static_cast<Matrix*>(pointer); });
  return pybind11::array_t<float>({rows, columns}, values, owner);
}

}  // namespace taesr
