#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "decoder/forward.h"
#include "kernels/decode_ops.h"

namespace taesr {

/// Rows of states on a device, for tokens between the steps of their segments. Rows may be given back from
/// any thread; the rest is for one at a time.
class StatePool {
 public:
  StatePool(std::int64_t width, at::Device device);

  /// Adds so many rows to `rows`. May move the states to a larger memory.
  void take(std::int64_t count, std::vector<std::int32_t>& rows);
  void give_back(std::span<const std::int32_t> rows);

  [[nodiscard]] DecodeStates& states() { return states_; }

 private:
  void grow(std::int64_t rows);

  std::int64_t width_;
  at::Device device_;
  DecodeStates states_;
  std::mutex mutex_;  // of what follows
  std::vector<std::int32_t> free_;
};

/// A segment's rows.
struct KeptStates final : Segment::Memory {
  explicit KeptStates(std::shared_ptr<StatePool> pool) : pool(std::move(pool)) {}
  ~KeptStates() override { release(); }

  void release() {
    pool->give_back(rows);
    rows.clear();
  }

  std::shared_ptr<StatePool> pool;
  std::vector<std::int32_t> rows;  // by token
};

}  // namespace taesr
