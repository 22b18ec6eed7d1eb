#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include "register.h"
#include "taesr/config.h"

namespace py = pybind11;

namespace taesr {

void register_config(py::module_& module) {
  py::class_<TAESRConfig>(module, "TAESRConfig")
      .def_static("from_json", &TAESRConfig::from_json, py::arg("text"), py::arg("origin") = "config")
      .def_static("from_file", &TAESRConfig::from_file, py::arg("path"))
      .def("to_json", &TAESRConfig::to_json)
      .def("recursions", &TAESRConfig::recursions, py::arg("depth"))
      .def_property_readonly("max_recursions", &TAESRConfig::max_recursions)
      .def_readonly("vocab_size", &TAESRConfig::vocab_size)
      .def_readonly("hidden_size", &TAESRConfig::hidden_size)
      .def_readonly("intermediate_size", &TAESRConfig::intermediate_size)
      .def_readonly("num_attention_heads", &TAESRConfig::num_attention_heads)
      .def_readonly("max_position_embeddings", &TAESRConfig::max_position_embeddings)
      .def_readonly("layer_norm_eps", &TAESRConfig::layer_norm_eps)
      .def_property_readonly("sharing", [](const TAESRConfig& config) { return to_string(config.sharing); })
      .def_readonly("entry_layers", &TAESRConfig::entry_layers)
      .def_readonly("shared_layers", &TAESRConfig::shared_layers)
      .def_readonly("refinement_layers", &TAESRConfig::refinement_layers)
      .def_readonly("exit_layers", &TAESRConfig::exit_layers)
      .def_readonly("recursion_steps", &TAESRConfig::recursion_steps)
      .def_readonly("embedding_size", &TAESRConfig::embedding_size)
      .def_readonly("matryoshka_dimensions", &TAESRConfig::matryoshka_dimensions)
      .def_readonly("sparse_head", &TAESRConfig::sparse_head)
      .def_property_readonly("sparse_queries",
                             [](const TAESRConfig& config) { return to_string(config.sparse_queries); })
      .def_readonly("late_size", &TAESRConfig::late_size)
      .def_readonly("router_size", &TAESRConfig::router_size)
      .def_readonly("router_confidence", &TAESRConfig::router_confidence)
      .def_readonly("subspaces", &TAESRConfig::subspaces)
      .def_property_readonly("token_routing", [](const TAESRConfig& config) { return to_string(config.token_routing); })
      .def_readonly("token_capacity", &TAESRConfig::token_capacity)
      .def_readonly("bos_id", &TAESRConfig::bos_id)
      .def_readonly("pad_id", &TAESRConfig::pad_id)
      .def_readonly("eos_id", &TAESRConfig::eos_id)
      .def_readonly("unk_id", &TAESRConfig::unk_id)
      .def("__eq__", [](const TAESRConfig& a, const TAESRConfig& b) { return a == b; });
}

}  // namespace taesr
