#pragma once

#include <cstddef>
#include <vector>

#include <ATen/core/Tensor.h>

#include "decoder/weights.h"
#include "kernels/decode_ops.h"

namespace taesr {

/// One layer's weights on a device. Matrices are [in, out] of T, transposed views; gains are float32.
struct DeviceLayer {
  at::Tensor attention_norm;
  at::Tensor qkv;  // queries, keys and values side by side
  at::Tensor output;
  at::Tensor mlp_norm;
  at::Tensor gate_up;  // side by side
  at::Tensor down;
};

/// A decoder's weights on a device, float32 or bfloat16 (T): what was quantised is not any more.
struct DeviceWeights {
  DeviceWeights(const DecoderConfig& config, const DecoderWeights& weights, at::ScalarType dtype,
                at::Device device);

  DecoderConfig config;
  at::ScalarType dtype;
  at::Device device;
  at::Tensor token;                 // [vocabulary, hidden]
  at::Tensor head;                  // [hidden, vocabulary], transposed view
  std::vector<DeviceLayer> layers;  // by DecoderConfig::unique_layer
  at::Tensor final_norm;
  DecodeRouter router;
  at::Tensor angles;  // float32 [max_positions, head_dim]: cosines, then sines
  std::size_t bytes = 0;  // of the matrices
};

}  // namespace taesr
