#pragma once

#include <ATen/core/Tensor.h>

namespace taesr {

/// A host tensor on `device`. Through pinned memory on CUDA: a copy from pageable memory would wait for all
/// work that is queued there.
[[nodiscard]] inline at::Tensor to_device(const at::Tensor& host, at::Device device) {
  return device.is_cuda() ? host.pin_memory().to(device, /*non_blocking=*/true) : host.to(device);
}

}  // namespace taesr
