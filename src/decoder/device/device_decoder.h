#pragma once

#include <cstddef>
#include <memory>
#include <mutex>

#include <c10/core/Stream.h>

#include "decoder/device/device_layers.h"
#include "decoder/device/device_weights.h"
#include "decoder/device/page_pool.h"
#include "decoder/device/state_pool.h"
#include "decoder/forward.h"
#include "decoder/weights.h"

namespace taesr {

/// A decoder on a GPU; on the CPU with twins of the kernels, for tests. What all its passes share, which take
/// turns.
class DeviceDecoder {
 public:
  /// `dtype` is float32 or bfloat16. Throws InvalidArgument for heads that the kernels do not take.
  DeviceDecoder(const DecoderConfig& config, const DecoderWeights& weights, KvCaching caching,
                at::ScalarType dtype, at::Device device);

  [[nodiscard]] std::unique_ptr<ForwardPass> make_pass();
  [[nodiscard]] std::unique_ptr<KvCache> make_cache() const;
  /// Memory of the weights.
  [[nodiscard]] std::size_t bytes() const { return model_.bytes; }

 private:
  friend class DevicePass;

  std::mutex mutex_;  // of a step
  c10::Stream stream_;
  DeviceWeights model_;
  LayerStages stages_;
  std::shared_ptr<PagePool> pages_;
  std::shared_ptr<StatePool> states_;
  DeviceLayers layers_;
};

}  // namespace taesr
