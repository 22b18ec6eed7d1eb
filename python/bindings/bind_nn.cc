#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <torch/csrc/utils/pybind.h>

#include "model/forward.h"
#include "model/model_folder.h"
#include "model/weights.h"
#include "register.h"

namespace py = pybind11;

namespace taesr {
namespace {

/// The functional forward pass, for modules that own their parameters in Python.
std::pair<at::Tensor, at::Tensor> forward(const TAESRConfig& config, const WeightMap& weights, const at::Tensor& tokens,
                                          std::vector<std::int64_t> offsets, const at::Tensor& roles, int recursions) {
  const py::gil_scoped_release release;
  const PackedBatch batch{tokens, std::move(offsets), roles};
  batch.validate(config);
  const auto output = encoder_forward(config, EncoderWeights::resolve(config, weights, "weights"), batch, recursions);
  return {output.hidden, output.pooled};
}

}  // namespace

void register_nn(py::module_& module) {
  module.def("weight_shapes", &weight_shapes, py::arg("config"));
  module.def("encoder_forward", &forward, py::arg("config"), py::arg("weights"), py::arg("tokens"), py::arg("offsets"),
             py::arg("roles"), py::arg("recursions"));
  module.def("check_weights",
             [](const TAESRConfig& config, const WeightMap& weights, const std::string& origin) {
               (void)EncoderWeights::resolve(config, weights, origin);
             },
             py::arg("config"), py::arg("weights"), py::arg("origin"));
  module.def("load_weights", [](const std::string& path) { return load_weights(path); }, py::arg("path"));
  module.def("save_weights", [](const std::string& path, const WeightMap& weights) { save_weights(path, weights); },
             py::arg("path"), py::arg("weights"));
}

}  // namespace taesr
