#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <torch/csrc/utils/pybind.h>

#include "model/heads.h"
#include "register.h"
#include "taesr/errors.h"

namespace py = pybind11;

namespace taesr {
namespace {

using Offsets = std::vector<std::int64_t>;

void check_states(const at::Tensor& hidden, std::int64_t size) {
  if (hidden.dim() == 2 && hidden.is_floating_point() && hidden.size(1) == size) return;
  throw InvalidArgument("hidden must be floating point [tokens, " + std::to_string(size) +
                        "], the states of the last layer");
}

void check_offsets(const at::Tensor& hidden, const Offsets& offsets) {
  bool ascending = offsets.size() >= 2 && offsets.front() == 0 && offsets.back() == hidden.size(0);
  for (std::size_t i = 1; i < offsets.size(); ++i) ascending = ascending && offsets[i - 1] < offsets[i];
  if (!ascending) {
    throw InvalidArgument("offsets must rise from 0 to the number of tokens, " + std::to_string(hidden.size(0)) +
                          ", by at least one token a text");
  }
}

at::Tensor sparse(const at::Tensor& hidden, const at::Tensor& table, const WeightMap& head, double norm_eps,
                  const Offsets& offsets) {
  const py::gil_scoped_release release;
  check_states(hidden, table.size(1));
  check_offsets(hidden, offsets);
  const auto affine = [&](const std::string& name) { return Affine{head.at(name + ".weight"), head.at(name + ".bias")}; };
  const SparseWeights weights{affine("transform"), affine("norm"), head.at("bias"), {}};
  return sparse_embedding(hidden, weights, table, norm_eps, offsets);
}

at::Tensor late(const at::Tensor& hidden, const at::Tensor& weight) {
  const py::gil_scoped_release release;
  check_states(hidden, weight.size(1));
  return late_embedding(hidden, weight);
}

}  // namespace

void register_heads(py::module_& module) {
  module.def("sparse_embedding", &sparse, py::arg("hidden"), py::arg("table"), py::arg("head"), py::arg("norm_eps"),
             py::arg("offsets"));
  module.def("late_embedding", &late, py::arg("hidden"), py::arg("weight"));
}

}  // namespace taesr
