#include "decoder/device/staged.h"

#include <algorithm>

#include <ATen/ops/empty.h>

#include "engine/cuda/device_batch.h"

namespace taesr {

bool Staged::reserve(std::int64_t count) {
  if (host_.defined() && host_.numel() >= count) return false;
  const std::int64_t size = std::max(count, host_.defined() ? 2 * host_.numel() : std::int64_t{256});
  host_ = staging({size}, dtype_, device_);
  const auto options = at::TensorOptions().dtype(dtype_).device(device_);
  on_device_ = device_.is_cuda() ? at::empty({size}, options) : host_;
  return true;
}

void Staged::send(std::int64_t count) {
  if (!device_.is_cuda()) return;
  on_device_.narrow(0, 0, count).copy_(host_.narrow(0, 0, count), /*non_blocking=*/true);
}

void Staged::fetch(std::int64_t count) {
  if (!device_.is_cuda()) return;
  host_.narrow(0, 0, count).copy_(on_device_.narrow(0, 0, count), /*non_blocking=*/true);
}

}  // namespace taesr
