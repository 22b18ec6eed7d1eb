#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "taesr/embedder.h"
#include "taesr/errors.h"

namespace taesr {

/// An embedder written in Python: any object with the attributes `dimension`, `fingerprint` and
/// `max_tokens` and the methods `embed(texts, role, depth)` and `count_tokens(text)`. `embed` returns a
/// float array [texts, dimension] of unit rows; `role` is "query" or "passage".
///
/// Calls take the interpreter's lock, so that the library may make them from any thread.
class PythonEmbedder : public Embedder {
 public:
  explicit PythonEmbedder(pybind11::object object)
      : dimension_(object.attr("dimension").cast<std::size_t>()),
        fingerprint_(object.attr("fingerprint").cast<std::string>()),
        max_tokens_(object.attr("max_tokens").cast<std::size_t>()),
        object_(std::move(object)) {}

  ~PythonEmbedder() override {
    const pybind11::gil_scoped_acquire acquire;
    object_ = pybind11::object();
  }
  PythonEmbedder(const PythonEmbedder&) = delete;
  PythonEmbedder& operator=(const PythonEmbedder&) = delete;

  [[nodiscard]] Embeddings embed(std::span<const std::string> texts, Role role,
                                 const std::string& depth) const override {
    using Array = pybind11::array_t<float, pybind11::array::c_style | pybind11::array::forcecast>;
    const pybind11::gil_scoped_acquire acquire;
    const std::vector<std::string> list(texts.begin(), texts.end());
    const Array array(object_.attr("embed")(list, role == Role::kQuery ? "query" : "passage", depth));
    if (array.ndim() != 2) {
      throw InvalidArgument("the embedder returned an array of " + std::to_string(array.ndim()) +
                            " axes; it must have two, [texts, dimension]");
    }
    Embeddings made;
    made.vectors = Matrix(static_cast<std::size_t>(array.shape(0)), static_cast<std::size_t>(array.shape(1)));
    std::copy(array.data(), array.data() + array.size(), made.vectors.values.begin());
    return made;
  }

  [[nodiscard]] std::size_t dimension() const override { return dimension_; }
  [[nodiscard]] std::string fingerprint() const override { return fingerprint_; }
  [[nodiscard]] std::size_t max_tokens() const override { return max_tokens_; }

  [[nodiscard]] std::size_t count_tokens(const std::string& text) const override {
    const pybind11::gil_scoped_acquire acquire;
    return object_.attr("count_tokens")(text).cast<std::size_t>();
  }

 private:
  std::size_t dimension_;
  std::string fingerprint_;
  std::size_t max_tokens_;
  pybind11::object object_;
};

}  // namespace taesr
