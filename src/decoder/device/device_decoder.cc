#include "decoder/device/device_decoder.h"

#include <c10/core/InferenceMode.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include "decoder/device/device_kv_cache.h"
#include "decoder/device/device_pass.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

constexpr std::int64_t kMostHead = 256;  // kernels/cuda/decode_attention.cu

c10::Stream own_stream(at::Device device) {
  const c10::impl::VirtualGuardImpl guard(device.type());
  return device.is_cuda() ? guard.getStreamFromGlobalPool(device) : guard.getStream(device);
}

/// Tensors made in this mode, as all of the decoder's are, cost less to hand on.
DeviceWeights send(const DecoderConfig& config, const DecoderWeights& weights, at::ScalarType dtype,
                   at::Device device) {
  if (config.head_dim > kMostHead) {
    throw InvalidArgument("head_dim is " + std::to_string(config.head_dim) + "; on a GPU allowed: up to " +
                          std::to_string(kMostHead) + "; use device \"cpu\"");
  }
  const c10::InferenceMode inference;
  DeviceWeights model(config, weights, dtype, device);
  // The weights were copied on the caller's stream.
  if (device.is_cuda()) c10::impl::VirtualGuardImpl(device.type()).getStream(device).synchronize();
  return model;
}

}  // namespace

DeviceDecoder::DeviceDecoder(const DecoderConfig& config, const DecoderWeights& weights, KvCaching caching,
                             at::ScalarType dtype, at::Device device)
    : stream_(own_stream(device)),
      model_(send(config, weights, dtype, device)),
      stages_(config),
      pages_(std::make_shared<PagePool>(KvLayout(config, caching), dtype, device)),
      states_(std::make_shared<StatePool>(config.hidden_size, device)),
      layers_(model_, caching) {}

std::unique_ptr<ForwardPass> DeviceDecoder::make_pass() { return std::make_unique<DevicePass>(*this); }

std::unique_ptr<KvCache> DeviceDecoder::make_cache() const { return std::make_unique<DeviceKvCache>(pages_); }

}  // namespace taesr
