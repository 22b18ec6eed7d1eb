#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include "engine/flops.h"
#include "numpy_matrix.h"
#include "numpy_sparse.h"
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
                    const std::string& depth, std::size_t dim, const std::string& on_overflow,
                    const std::vector<std::string>& outputs, std::size_t sparse_top, std::optional<double> max_flops,
                    std::optional<double> deadline_ms, std::size_t first_text, std::size_t max_tokens) {
  const EncodeOptions options{.role = parse_role(role),
                              .depth = depth,
                              .dim = dim,
                              .on_overflow = parse_overflow(on_overflow),
                              .max_tokens = max_tokens,
                              .outputs = parse_outputs(outputs),
                              .sparse_top = sparse_top,
                              .max_flops = max_flops,
                              .deadline_ms = deadline_ms,
                              .first_text = first_text};
  const py::gil_scoped_release release;
  return encoder.encode(texts, options);
}

std::vector<py::array_t<float>> take_late(EncodeResult& result) {
  std::vector<py::array_t<float>> arrays;
  for (Matrix& rows : result.late) arrays.push_back(to_numpy(std::move(rows)));
  return arrays;
}

std::map<std::string, py::array_t<float>> take_subspaces(EncodeResult& result) {
  std::map<std::string, py::array_t<float>> arrays;
  for (auto& [name, rows] : result.subspaces) arrays.emplace(name, to_numpy(std::move(rows)));
  return arrays;
}

SparseArrays encode_sparse_query(const Encoder& encoder, const std::vector<std::string>& texts) {
  std::vector<SparseVector> queries;
  {
    const py::gil_scoped_release release;
    queries = encoder.encode_sparse_query(texts);
  }
  return to_numpy(queries);
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
      .def("sparse_arrays", [](const EncodeResult& self) { return to_numpy(self.sparse); })
      .def("take_late", &take_late)
      .def("take_subspaces", &take_subspaces)
      .def("take_router_probabilities", [](EncodeResult& self) { return to_numpy(std::move(self.router_probabilities)); })
      .def_readonly("depths", &EncodeResult::depths)
      .def_readonly("token_counts", &EncodeResult::token_counts)
      .def_readonly("windows", &EncodeResult::windows)
      .def_readonly("truncated", &EncodeResult::truncated)
      .def_readonly("deadline_missed", &EncodeResult::deadline_missed);

  py::class_<Embedder, std::shared_ptr<Embedder>>(module, "Embedder")
      .def_property_readonly("dimension", &Embedder::dimension)
      .def_property_readonly("fingerprint", &Embedder::fingerprint)
      .def_property_readonly("max_tokens", &Embedder::max_tokens)
      .def("count_tokens", &Embedder::count_tokens, py::arg("text"), py::call_guard<py::gil_scoped_release>());

  py::class_<Encoder, Embedder, std::shared_ptr<Encoder>>(module, "Encoder")
      .def_static(
          "load",
          [](const std::optional<std::filesystem::path>& path, const std::string& precision, const std::string& device) {
            const Precision wanted = parse_precision(precision);
            const py::gil_scoped_release release;
            return std::make_shared<Encoder>(Encoder::load(path, wanted, device));
          },
          py::arg("path"), py::arg("precision"), py::arg("device") = "cpu")
      .def("encode", &encode, py::arg("texts"), py::arg("role"), py::arg("depth"), py::arg("dim"),
           py::arg("on_overflow"), py::arg("outputs"), py::arg("sparse_top"), py::arg("max_flops"),
           py::arg("deadline_ms"), py::arg("first_text"), py::arg("max_tokens"))
      .def("flops",
           [](const Encoder& self, std::size_t tokens, const std::string& depth,
              const std::vector<std::string>& outputs) { return self.flops(tokens, depth, parse_outputs(outputs)); },
           py::arg("tokens"), py::arg("depth"), py::arg("outputs"))
      .def("encode_sparse_query", &encode_sparse_query, py::arg("texts"))
      .def_property_readonly("config", &Encoder::config)
      .def_property_readonly("tokenizer", &Encoder::tokenizer, py::return_value_policy::reference_internal)
      .def_property_readonly("precision", [](const Encoder& self) { return name_of(self.precision()); })
      .def_property_readonly("device", &Encoder::device)
      .def_property_readonly("source", [](const Encoder& self) { return self.source(); });

  py::class_<ModelShape>(module, "ModelShape")
      .def(py::init<>())
      .def_readwrite("hidden_size", &ModelShape::hidden_size)
      .def_readwrite("intermediate_size", &ModelShape::intermediate_size)
      .def_readwrite("embedding_size", &ModelShape::embedding_size)
      .def_readwrite("vocab_size", &ModelShape::vocab_size)
      .def_readwrite("late_size", &ModelShape::late_size)
      .def_readwrite("max_position_embeddings", &ModelShape::max_position_embeddings)
      .def_readwrite("entry_layers", &ModelShape::entry_layers)
      .def_readwrite("shared_layers", &ModelShape::shared_layers)
      .def_readwrite("refinement_layers", &ModelShape::refinement_layers)
      .def_readwrite("exit_layers", &ModelShape::exit_layers)
      .def_readwrite("token_capacity", &ModelShape::token_capacity);
  module.def(
      "text_flops",
      [](const ModelShape& shape, double tokens, double windows, int recursions, bool dense, bool sparse, bool late) {
        return text_flops(shape, tokens, windows, recursions, {.dense = dense, .sparse = sparse, .late = late});
      },
      py::arg("shape"), py::arg("tokens"), py::arg("windows"), py::arg("recursions"), py::kw_only(), py::arg("dense"),
      py::arg("sparse"), py::arg("late"));
  module.def("default_model_path", &default_model_path);
}

}  // namespace taesr
