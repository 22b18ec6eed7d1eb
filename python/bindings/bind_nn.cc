#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <torch/csrc/utils/pybind.h>

#include <ATen/ops/softmax.h>

#include "model/forward.h"
#include "model/model_folder.h"
#include "model/pooling.h"
#include "model/router.h"
#include "model/weights.h"
#include "register.h"
#include "taesr/errors.h"

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

/// The forward pass at the depths that the router chooses: states, dense embeddings, scores, recursions.
std::tuple<at::Tensor, at::Tensor, at::Tensor, std::vector<int>> forward_routed(
    const TAESRConfig& config, const WeightMap& weights, const at::Tensor& tokens, std::vector<std::int64_t> offsets,
    const at::Tensor& roles) {
  const py::gil_scoped_release release;
  const PackedBatch batch{tokens, std::move(offsets), roles};
  batch.validate(config);
  const auto resolved = EncoderWeights::resolve(config, weights, "weights");
  const PackedLayout layout(batch.offsets, tokens.device());
  const auto entry = entry_states(config, resolved, batch, layout);
  const auto logits = router_logits(router_features(entry, layout), resolved.router.value());
  const auto probabilities = at::softmax(logits.detach(), 1).to(at::kCPU, at::kFloat).contiguous();
  std::vector<int> depths;
  for (std::int64_t i = 0; i < layout.sequences(); ++i) {
    const std::span<const float> row(probabilities.const_data_ptr<float>() + i * logits.size(1), logits.size(1));
    depths.push_back(recursions_of_class(config, router_class(row, config.router_confidence)));
  }
  const auto hidden = states_at_depths(config, resolved, entry, layout, depths);
  return {hidden, dense_embedding(pooled_mean(hidden, layout), resolved.head), logits, depths};
}

void check_rows(const at::Tensor& hidden, const PackedLayout& layout) {
  if (hidden.dim() != 2 || !hidden.is_floating_point() || hidden.size(0) != layout.tokens()) {
    throw InvalidArgument("hidden must be floating point [" + std::to_string(layout.tokens()) +
                          ", hidden size], a row for each token");
  }
}

at::Tensor features_of(const at::Tensor& entry, const PackedLayout& layout) {
  const py::gil_scoped_release release;
  check_rows(entry, layout);
  return router_features(entry, layout);
}

at::Tensor logits_of(const at::Tensor& features, const WeightMap& router) {
  const py::gil_scoped_release release;
  const auto affine = [&](const std::string& name) {
    return Affine{router.at(name + ".weight"), router.at(name + ".bias")};
  };
  return router_logits(features, {affine("hidden"), affine("out")});
}

/// States at several depths in one pass: entry, hidden by depth, routing by recursion.
/// The caller has checked the ids, which may be on a device that is better not waited for.
std::tuple<at::Tensor, std::vector<at::Tensor>, std::vector<RoutedRecursion>> states(
    const TAESRConfig& config, const WeightMap& weights, const at::Tensor& tokens, const PackedLayout& layout,
    const at::Tensor& roles, const std::vector<int>& depths, bool checkpoint_layers) {
  const py::gil_scoped_release release;
  const PackedBatch batch{tokens, layout.offsets, roles};
  batch.validate_shape(config);
  auto result = encoder_states(config, EncoderWeights::resolve(config, weights, "weights"), batch, layout, depths,
                               {.checkpoint_layers = checkpoint_layers});
  return {std::move(result.entry), std::move(result.hidden), std::move(result.routing)};
}

at::Tensor mean(const at::Tensor& hidden, const PackedLayout& layout) {
  const py::gil_scoped_release release;
  check_rows(hidden, layout);
  return pooled_mean(hidden, layout);
}

at::Tensor embed(const at::Tensor& pooled, const at::Tensor& weight, const at::Tensor& bias) {
  const py::gil_scoped_release release;
  return dense_embedding(pooled, {weight, bias});
}

}  // namespace

void register_nn(py::module_& module) {
  py::class_<PackedLayout>(module, "PackedLayout")
      .def(py::init([](std::vector<std::int64_t> offsets, const at::Device& device) {
             const py::gil_scoped_release release;
             return PackedLayout(std::move(offsets), device);
           }),
           py::arg("offsets"), py::arg("device"))
      .def_readonly("lengths", &PackedLayout::lengths)
      .def_readonly("sequence", &PackedLayout::sequence);
  py::class_<RoutedRecursion>(module, "RoutedRecursion")
      .def_readonly("active_share", &RoutedRecursion::active_share)
      .def_readonly("scores", &RoutedRecursion::scores)
      .def_readonly("active", &RoutedRecursion::active);
  module.def("encoder_states", &states, py::arg("config"), py::arg("weights"), py::arg("tokens"), py::arg("layout"),
             py::arg("roles"), py::arg("depths"), py::arg("checkpoint_layers"));
  module.def("pooled_mean", &mean, py::arg("hidden"), py::arg("layout"));
  module.def("dense_embedding", &embed, py::arg("pooled"), py::arg("weight"), py::arg("bias"));
  module.def("forward_routed", &forward_routed, py::arg("config"), py::arg("weights"), py::arg("tokens"),
             py::arg("offsets"), py::arg("roles"));
  module.def("router_features", &features_of, py::arg("entry"), py::arg("layout"));
  module.def("router_logits", &logits_of, py::arg("features"), py::arg("router"));
  module.def("router_class",
             [](const std::vector<float>& probabilities, double confidence) { return router_class(probabilities, confidence); },
             py::arg("probabilities"), py::arg("confidence"));
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
