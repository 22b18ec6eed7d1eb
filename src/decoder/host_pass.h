#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "decoder/crew.h"
#include "decoder/forward.h"
#include "decoder/host_kv_cache.h"
#include "decoder/layer_runner.h"
#include "decoder/router.h"
#include "decoder/weights.h"

namespace taesr {

/// A ForwardPass on the CPU, for segments whose caches are HostKvCaches. Keeps its memory from one run to the
/// next, so that decoding token by token allocates next to nothing.
class HostPass final : public ForwardPass {
 public:
  HostPass(const DecoderConfig& config, const DecoderWeights& weights);

 private:
  using Member = Crew::Member;

  void do_step(std::span<Segment* const> segments, const Meanwhile& meanwhile) override;
  void prepare(std::span<Segment* const> segments);
  void run_layers(Member& member, std::span<Segment* const> segments);
  void gather_active(std::span<Segment* const> segments);
  void merge_active(std::span<Segment* const> segments);
  void choose(Segment& segment);
  void gather_wanted(std::span<Segment* const> segments);
  void deliver(std::span<Segment* const> segments);
  void add_entries(const Segment& segment, std::int64_t begin, std::int64_t end);
  [[nodiscard]] static HostKvCache* cache_of(const Segment& segment) {
    return static_cast<HostKvCache*>(segment.cache_);
  }
  [[nodiscard]] std::int64_t block_begin(const Segment& segment) const {
    return stages_.ends + segment.recursion_ * stages_.block;
  }

  const DecoderConfig& config_;
  LayerStages stages_;
  Crew crew_;
  LayerRunner layers_;
  Router router_;
  // Rows of a step: in the layers before the recursions, in one, in those after, and at the end. Each phase
  // has its own: a thread may still be on its way out of one when others gather the next.
  Rows started_, recurring_, finishing_, scored_;
  std::vector<int> ids_;                 // of started_
  std::vector<std::int64_t> positions_;  // for add_entries
};

}  // namespace taesr
