#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <torch/csrc/utils/pybind.h>

#include <ATen/core/grad_mode.h>

#include "engine/cuda/device_encoder.h"
#include "register.h"
#include "taesr/errors.h"

namespace py = pybind11;

namespace taesr {
namespace {

/// Ids on the host, as the model reads them.
HostBatch batch_of(const TAESRConfig& config, const at::Tensor& tokens, std::vector<std::int64_t> offsets,
                   const at::Tensor& roles) {
  const PackedBatch packed{tokens.cpu().contiguous(), std::move(offsets), roles.cpu().contiguous()};
  packed.validate(config);
  HostBatch batch;
  const auto* token = packed.tokens.const_data_ptr<std::int64_t>();
  const auto* role = packed.roles.const_data_ptr<std::int64_t>();
  batch.tokens.assign(token, token + packed.tokens.size(0));
  batch.offsets = packed.offsets;
  batch.roles.assign(role, role + packed.roles.size(0));
  return batch;
}

at::ScalarType dtype_of(const std::string& precision) {
  if (precision == "float32") return at::kFloat;
  if (precision == "bfloat16") return at::kBFloat16;
  if (precision == "float16") return at::kHalf;
  throw InvalidArgument("precision is '" + precision.substr(0, 60) + "'; allowed: float32, bfloat16, float16");
}

/// The engine of Encoder on a device, for token ids: tests and measurements.
struct DeviceEngine {
  DeviceEngine(const TAESRConfig& config, const WeightMap& weights, const std::string& precision,
               const std::string& device)
      : config(config),
        encoder(config, EncoderWeights::resolve(config, weights, "weights"), dtype_of(precision),
                parse_device(device)) {}

  at::Tensor embed(const at::Tensor& tokens, std::vector<std::int64_t> offsets, const at::Tensor& roles,
                   const std::vector<int>& depths, bool routed) const {
    const py::gil_scoped_release release;
    const HostBatch batch = batch_of(config, tokens, std::move(offsets), roles);
    if (depths.size() != batch.sequences()) {
      throw InvalidArgument(std::to_string(depths.size()) + " depths for " + std::to_string(batch.sequences()) +
                            " sequences");
    }
    for (const int depth : depths) (void)config.recursions(std::to_string(depth));
    const at::NoGradGuard no_grad;
    return encoder.embed(batch, depths, routed);
  }

  at::Tensor router_probabilities(const at::Tensor& tokens, std::vector<std::int64_t> offsets,
                                  const at::Tensor& roles) const {
    const py::gil_scoped_release release;
    const at::NoGradGuard no_grad;
    if (config.router_size == 0) throw InvalidArgument("the model has no router (config field 'router_size')");
    return encoder.router_probabilities(batch_of(config, tokens, std::move(offsets), roles));
  }

  TAESRConfig config;
  DeviceEncoder encoder;
};

}  // namespace

void register_device(py::module_& module) {
  py::class_<DeviceEngine>(module, "DeviceEngine")
      .def(py::init<const TAESRConfig&, const WeightMap&, const std::string&, const std::string&>(), py::arg("config"),
           py::arg("weights"), py::arg("precision"), py::arg("device"), py::call_guard<py::gil_scoped_release>())
      .def("embed", &DeviceEngine::embed, py::arg("tokens"), py::arg("offsets"), py::arg("roles"), py::arg("depths"),
           py::arg("routed"))
      .def("router_probabilities", &DeviceEngine::router_probabilities, py::arg("tokens"), py::arg("offsets"),
           py::arg("roles"));
}

}  // namespace taesr
