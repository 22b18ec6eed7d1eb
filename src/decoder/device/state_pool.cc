#include "decoder/device/state_pool.h"

#include <algorithm>

#include <ATen/ops/empty.h>

namespace taesr {
namespace {

constexpr std::int64_t kLeastRows = 512;

}  // namespace

StatePool::StatePool(std::int64_t width, at::Device device) : width_(width), device_(device) {}

void StatePool::take(std::int64_t count, std::vector<std::int32_t>& rows) {
  const std::lock_guard lock(mutex_);
  const auto lacking = count - static_cast<std::int64_t>(free_.size());
  if (lacking > 0) grow(std::max(kLeastRows, lacking));
  rows.insert(rows.end(), free_.end() - count, free_.end());
  free_.resize(free_.size() - static_cast<std::size_t>(count));
}

void StatePool::give_back(std::span<const std::int32_t> rows) {
  const std::lock_guard lock(mutex_);
  free_.insert(free_.end(), rows.begin(), rows.end());
}

/// Room for so many rows more, and for twice as many as there are.
void StatePool::grow(std::int64_t rows) {
  const std::int64_t before = states_.values.defined() ? states_.values.size(0) : 0;
  const std::int64_t after = before + std::max(before, rows);
  const auto floats = at::TensorOptions().dtype(at::kFloat).device(device_);
  DecodeStates larger{at::empty({after, width_}, floats), at::empty({after}, floats),
                      at::empty({after}, floats.dtype(at::kInt))};
  if (before > 0) {
    larger.values.narrow(0, 0, before).copy_(states_.values);
    larger.chances.narrow(0, 0, before).copy_(states_.chances);
    larger.depths.narrow(0, 0, before).copy_(states_.depths);
  }
  free_.reserve(static_cast<std::size_t>(after));  // so that give_back does not throw
  for (std::int64_t row = after; row-- > before;) free_.push_back(static_cast<std::int32_t>(row));
  states_ = larger;
}

}  // namespace taesr
