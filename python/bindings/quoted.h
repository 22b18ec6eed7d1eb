#pragma once

#include <string>

#include <pybind11/pybind11.h>

namespace taesr {

/// A text as Python writes it in a __repr__.
inline std::string quoted(const std::string& text) {
  return std::string(pybind11::repr(pybind11::str(text)));
}

}  // namespace taesr
