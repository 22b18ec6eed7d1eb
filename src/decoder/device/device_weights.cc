#include "decoder/device/device_weights.h"

#include <cmath>
#include <initializer_list>

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/tensor.h>

#include "decoder/rotary.h"

namespace taesr {
namespace {

using blocks::PackedMatrix;

/// Puts matrices and numbers of the host on the device.
class Sender {
 public:
  explicit Sender(DeviceWeights& model) : model_(model) {}

  /// Matrices of one width, one below the other: [rows, width].
  at::Tensor matrix(std::initializer_list<const PackedMatrix*> parts) {
    std::int64_t rows = 0;
    for (const PackedMatrix* part : parts) rows += part->out;
    const std::int64_t width = (*parts.begin())->in;
    const auto values = at::empty({rows, width}, at::kFloat);
    float* to = values.mutable_data_ptr<float>();
    for (const PackedMatrix* part : parts) {
      at::parallel_for(0, part->out, 64, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t row = begin; row < end; ++row) part->read_row(row, to + row * width);
      });
      to += part->out * width;
    }
    auto sent = values.to(model_.dtype).to(model_.device);
    model_.bytes += static_cast<std::size_t>(sent.nbytes());
    return sent;
  }

  [[nodiscard]] at::Tensor numbers(const std::vector<float>& values) const {
    return at::tensor(values, at::kFloat).to(model_.device);
  }

 private:
  DeviceWeights& model_;
};

at::Tensor angles_of(const DecoderConfig& config) {
  const std::vector<float> frequencies = rotary_frequencies(config);
  const auto half = static_cast<std::int64_t>(frequencies.size());
  auto angles = at::empty({config.max_positions, 2 * half}, at::kFloat);
  float* to = angles.mutable_data_ptr<float>();
  for (std::int64_t position = 0; position < config.max_positions; ++position, to += 2 * half) {
    for (std::int64_t i = 0; i < half; ++i) {
      const float angle = static_cast<float>(position) * frequencies[static_cast<std::size_t>(i)];
      to[i] = std::cos(angle);
      to[half + i] = std::sin(angle);
    }
  }
  return angles;
}

DecodeRouter::Kind kind_of(Routing routing) {
  switch (routing) {
    case Routing::kExpertChoice: return DecodeRouter::kExpertChoice;
    case Routing::kTokenChoice: return DecodeRouter::kTokenChoice;
    case Routing::kNone: break;
  }
  return DecodeRouter::kNone;
}

}  // namespace

DeviceWeights::DeviceWeights(const DecoderConfig& config, const DecoderWeights& weights, at::ScalarType dtype,
                         at::Device device)
    : config(config), dtype(dtype), device(device) {
  Sender sender(*this);
  token = sender.matrix({&weights.token});
  head = (weights.head ? sender.matrix({&*weights.head}) : token).t();
  for (const DecoderLayer& layer : weights.layers) {
    layers.push_back({.attention_norm = sender.numbers(layer.attention_norm),
                      .qkv = sender.matrix({&layer.query, &layer.key, &layer.value}).t(),
                      .output = sender.matrix({&layer.output}).t(),
                      .mlp_norm = sender.numbers(layer.mlp_norm),
                      .gate_up = sender.matrix({&layer.gate, &layer.up}).t(),
                      .down = sender.matrix({&layer.down}).t()});
  }
  final_norm = sender.numbers(weights.final_norm);
  router = {.kind = kind_of(config.routing),
            .preserving = config.gate == Gate::kPreserving,
            .scale = config.gate_scale,
            .weights = {},
            .bias = {}};
  if (config.routing != Routing::kNone) {
    router.weights = sender.numbers(weights.routers).view({config.recursions, config.hidden_size});
  }
  if (config.routing == Routing::kTokenChoice) router.bias = sender.numbers(weights.router_bias);
  angles = angles_of(config).to(device);
}

}  // namespace taesr
