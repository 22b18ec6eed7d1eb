#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include "numpy_matrix.h"
#include "register.h"
#include "taesr/encoder.h"
#include "taesr/errors.h"

namespace py = pybind11;

namespace taesr {
namespace {

Role parse_role(const std::string& name) {
  if (name == "passage") return Role::kPassage;
  if (name == "query") return Role::kQuery;
  throw InvalidArgument("role is '" + name.substr(0, 60) + "'; allowed: query, passage");
}

EncodeResult encode(const Encoder& encoder, const std::vector<std::string>& texts, const std::string& role,
                    const std::string& depth, std::size_t dim, const std::string& on_overflow) {
  const EncodeOptions options{parse_role(role), depth, dim, parse_overflow(on_overflow)};
  const py::gil_scoped_release release;
  return encoder.encode(texts, options);
}

}  // namespace

void register_encoder(py::module_& module) {
  py::class_<Tokenizer>(module, "Tokenizer")
      .def_static("load", &Tokenizer::load, py::arg("path"))
      .def("encode", [](const Tokenizer& tokenizer, const std::string& text) { return tokenizer.encode(text); },
           py::arg("text"), py::call_guard<py::gil_scoped_release>())
      .def("decode", [](const Tokenizer& tokenizer, const std::vector<int>& ids) { return tokenizer.decode(ids); },
           py::arg("ids"))
      .def("piece", &Tokenizer::piece, py::arg("id"))
      .def("__len__", &Tokenizer::size);

  py::class_<EncodeResult>(module, "EncodeResult")
      .def("take_embeddings", [](EncodeResult& self) { return to_numpy(std::move(self.embeddings)); })
      .def_readonly("depths", &EncodeResult::depths)
      .def_readonly("token_counts", &EncodeResult::token_counts)
      .def_readonly("windows", &EncodeResult::windows)
      .def_readonly("truncated", &EncodeResult::truncated);

  py::class_<Embedder, std::shared_ptr<Embedder>>(module, "Embedder")
      .def_property_readonly("dimension", &Embedder::dimension)
      .def_property_readonly("fingerprint", &Embedder::fingerprint)
      .def_property_readonly("max_tokens", &Embedder::max_tokens)
      .def("count_tokens", &Embedder::count_tokens, py::arg("text"), py::call_guard<py::gil_scoped_release>());

  py::class_<Encoder, Embedder, std::shared_ptr<Encoder>>(module, "Encoder")
      .def_static(
          "load",
          [](const std::optional<std::filesystem::path>& path, const std::string& precision) {
            const Precision wanted = parse_precision(precision);
            const py::gil_scoped_release release;
            return std::make_shared<Encoder>(Encoder::load(path, wanted));
          },
          py::arg("path"), py::arg("precision"))
      .def("encode", &encode, py::arg("texts"), py::arg("role"), py::arg("depth"), py::arg("dim"),
           py::arg("on_overflow"))
      .def_property_readonly("config", &Encoder::config)
      .def_property_readonly("tokenizer", &Encoder::tokenizer, py::return_value_policy::reference_internal)
      .def_property_readonly("precision", [](const Encoder& self) { return name_of(self.precision()); })
      .def_property_readonly("source", [](const Encoder& self) { return self.source(); });

  module.def("default_model_path", &default_model_path);
}

}  // namespace taesr
