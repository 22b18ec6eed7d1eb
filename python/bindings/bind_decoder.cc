#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <pybind11/stl/filesystem.h>

#include "numpy_matrix.h"
#include "register.h"
#include "taesr/decoder.h"
#include "taesr/errors.h"

namespace py = pybind11;

namespace taesr {
namespace {

KvCaching parse_kv_caching(const std::string& name) {
  if (name == "full") return KvCaching::kFull;
  if (name == "shared") return KvCaching::kShared;
  throw InvalidArgument("kv_caching is '" + name.substr(0, 60) + "'; allowed: full, shared");
}

py::array_t<float> logits(const Decoder& decoder, const std::vector<int>& tokens) {
  Matrix made;
  {
    const py::gil_scoped_release release;
    made = decoder.logits(tokens);
  }
  return to_numpy(std::move(made));
}

}  // namespace

void register_decoder(py::module_& module) {
  py::class_<DecoderConfig>(module, "DecoderConfig")
      .def_readonly("vocab_size", &DecoderConfig::vocab_size)
      .def_readonly("hidden_size", &DecoderConfig::hidden_size)
      .def_readonly("intermediate_size", &DecoderConfig::intermediate_size)
      .def_readonly("layers", &DecoderConfig::layers)
      .def_readonly("heads", &DecoderConfig::heads)
      .def_readonly("kv_heads", &DecoderConfig::kv_heads)
      .def_readonly("head_dim", &DecoderConfig::head_dim)
      .def_readonly("max_positions", &DecoderConfig::max_positions)
      .def_readonly("rope_theta", &DecoderConfig::rope_theta)
      .def_readonly("norm_eps", &DecoderConfig::norm_eps)
      .def_readonly("tied_embeddings", &DecoderConfig::tied_embeddings)
      .def_property_readonly("sharing", [](const DecoderConfig& self) { return name_of(self.sharing); })
      .def_readonly("recursions", &DecoderConfig::recursions)
      .def_property_readonly("unique_layers", &DecoderConfig::unique_layers);

  py::class_<Decoder, std::shared_ptr<Decoder>>(module, "Decoder")
      .def_static(
          "load",
          [](const std::filesystem::path& path, const std::string& kv_caching) {
            const DecoderOptions options{.kv_caching = parse_kv_caching(kv_caching)};
            const py::gil_scoped_release release;
            return std::make_shared<Decoder>(Decoder::load(path, options));
          },
          py::arg("path"), py::arg("kv_caching"))
      .def("logits", &logits, py::arg("tokens"))
      .def_property_readonly("config", &Decoder::config)
      .def_property_readonly("weight_bytes", &Decoder::weight_bytes);
}

}  // namespace taesr
