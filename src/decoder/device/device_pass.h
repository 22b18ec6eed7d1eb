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
  /// Rows of an Ending that belong to a segment, whose scores are wanted.
  struct Wish {
    Segment* segment;
    std::int64_t first;
    std::int64_t count;
  };
  /// Rows on their way through the last layers.
  struct Ending {
    DeviceLayers::Rows rows;
    std::vector<Wish> whole, few;  // all of their scores are wanted, or the best ones
    std::size_t most = 1;          // of the best ones
    std::vector<float> logits;
    std::vector<ScoredToken> best;
    std::size_t fetched = 0;  // of few

    void clear();
  };

  void do_step(std::span<Segment* const> segments, const Meanwhile& meanwhile) override;
  void gather(std::span<Segment* const> segments);
  void gather(Segment& segment);
  [[nodiscard]] std::int32_t add_pages(const Segment& segment, std::int64_t list);
  [[nodiscard]] static DecodeRow row_of(const Segment& segment, std::int64_t token, std::int32_t list);
  [[nodiscard]] bool may_end(const Segment& segment) const;
  void end(Segment& segment, std::int32_t list, Ending& ending);
  void finish(Ending& ending);
  void advance(std::span<Segment* const> segments);
  void choose(Segment& segment, std::span<const std::int32_t> going) const;
  void find_best(Ending& ending);
  void fetch_best(Ending& ending, std::size_t rows);
  void deliver(Ending& ending);
  void deliver_logits(Ending& ending);

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
  DeviceLayers::Rows started_, recurring_;
  Ending expected_;  // before the router has said who goes on
  Ending late_;      // after it
  std::vector<std::int64_t> wanted_;
};

}  // namespace taesr
