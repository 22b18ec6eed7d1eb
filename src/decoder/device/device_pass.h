#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "decoder/device/device_decoder.h"
#include "decoder/device/device_kv_cache.h"
#include "decoder/forward.h"

namespace taesr {

/// A ForwardPass on a device, for segments whose caches are its decoder's. The scores that it hands out are
/// its own; the rest of the memory is the decoder's: passes of several threads take turns.
class DevicePass final : public ForwardPass {
 public:
  explicit DevicePass(DeviceDecoder& decoder) : decoder_(decoder) {}

 private:
  /// Rows of finishing_ that belong to a segment, whose scores are wanted.
  struct Wish {
    Segment* segment;
    std::int64_t first;
    std::int64_t count;
  };

  void do_step(std::span<Segment* const> segments, const Meanwhile& meanwhile) override;
  void gather(std::span<Segment* const> segments);
  void gather(Segment& segment);
  [[nodiscard]] std::int32_t add_pages(const Segment& segment, std::int64_t list);
  [[nodiscard]] static DecodeRow row_of(const Segment& segment, std::int64_t token, std::int32_t list);
  void advance(std::span<Segment* const> segments);
  void choose(Segment& segment, std::span<const std::int32_t> going) const;
  void finish(Segment& segment, std::int32_t list);
  void deliver(std::span<Segment* const> segments);
  void deliver_logits();
  void deliver_best();

  [[nodiscard]] static DeviceKvCache& cache_of(const Segment& segment) {
    return static_cast<DeviceKvCache&>(*segment.cache_);
  }
  [[nodiscard]] static KeptStates& states_of(const Segment& segment) {
    return static_cast<KeptStates&>(*segment.memory_);
  }

  DeviceDecoder& decoder_;
  // Of a step.
  std::int64_t tokens_ = 0;
  std::vector<std::int64_t> addresses_;  // of pages
  std::vector<std::int32_t> lists_;      // where each segment's list 0 begins in them
  DeviceLayers::Rows started_, recurring_, finishing_;
  std::vector<Wish> whole_, few_;  // all of their scores are wanted, or the best ones
  std::vector<std::int64_t> wanted_;
  std::vector<float> logits_;
  std::vector<ScoredToken> best_;
};

}  // namespace taesr
