#pragma once

#include <compare>
#include <functional>
#include <memory>

#include <c10/core/Device.h>

#include "engine/cuda/device_batch.h"

namespace taesr {

/// Work on the current stream, recorded as a CUDA graph, so that repeated small batches cost one launch and not
/// a launch a kernel. Not for several threads at once.
class GraphCache {
 public:
  /// Batches of one key must read and write the same memory.
  struct Key {
    int depth = 0;  // recursions; 0: what comes before them
    Extent room;
    auto operator<=>(const Key&) const = default;
  };

  struct Limits {
    std::size_t graphs = 64;
    int uses = 1;  // of a key, before it is recorded
  };

  /// Without CUDA nothing is recorded.
  explicit GraphCache(at::Device device, const Limits& limits);
  explicit GraphCache(at::Device device) : GraphCache(device, Limits()) {}
  GraphCache(const GraphCache&) = delete;
  GraphCache& operator=(const GraphCache&) = delete;
  ~GraphCache();

  /// Runs `work`: as it is the first times that a key comes, which readies libraries and memory; then recorded.
  /// Keeps the graphs used last.
  void run(const Key& key, const std::function<void()>& work);

  /// Passes that were replayed, since the beginning.
  [[nodiscard]] std::size_t replays() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace taesr
