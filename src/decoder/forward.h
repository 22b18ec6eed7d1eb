#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "decoder/crew.h"
#include "decoder/kv_cache.h"
#include "decoder/layer_runner.h"
#include "decoder/router.h"
#include "decoder/weights.h"

namespace taesr {

enum class LogitsOf { kNone, kLastToken, kAllTokens };

/// Tokens of one sequence that go through a decoder side by side: some of a prompt, or the last of a text.
/// Those of a sequence's next segment come after it.
class Segment {
 public:
  /// Tokens that continue what `cache` holds. Ids are below vocab_size, and cache.length() plus their number
  /// is at most max_positions: check_tokens.
  void begin(std::span<const int> tokens, KvCache& cache, LogitsOf wanted);

  /// Whether the tokens have passed all layers, and are in the cache.
  [[nodiscard]] bool finished() const { return finished_; }
  /// Rows that the next step of a ForwardPass computes in the shared layers.
  [[nodiscard]] std::int64_t active() const { return static_cast<std::int64_t>(active_.size()); }
  /// Logits [0, 1 or tokens, vocab_size], once finished and until the next step.
  [[nodiscard]] std::span<float> logits() const { return logits_; }
  /// How many recursions each token has passed.
  [[nodiscard]] const std::vector<int>& recursions() const { return passed_; }

 private:
  friend class ForwardPass;
  [[nodiscard]] std::int64_t count() const { return static_cast<std::int64_t>(tokens_.size()); }
  /// Index of the first token whose logits are wanted.
  [[nodiscard]] std::int64_t first_wanted() const;

  KvCache* cache_ = nullptr;
  std::vector<int> tokens_;
  LogitsOf wanted_ = LogitsOf::kNone;
  std::int64_t first_ = 0;               // position
  std::int64_t recursion_ = 0;           // the next one
  std::vector<std::int64_t> active_;     // tokens that pass it, ascending
  std::vector<float> states_;            // [tokens, hidden], before it
  std::vector<Router::Choice> choices_;  // by token
  std::vector<int> passed_;              // by token
  bool finished_ = true;
  std::span<float> logits_;
};

/// Runs segments through a decoder, those of many sequences in one batch. Keeps its memory from one run to
/// the next, so that decoding token by token allocates next to nothing. Not for several threads at once;
/// config and weights must outlive it.
class ForwardPass {
 public:
  ForwardPass(const DecoderConfig& config, const DecoderWeights& weights);

  /// Takes each segment through one recursion of the shared layers: those that have just begun through the
  /// layers before them too, and those whose tokens need no further recursion through the layers after them.
  /// Segments may be at different recursions, whose layers are the same (depth-wise batching, Bae et al.
  /// 2024, arXiv 2410.20672). Their sequences are different ones. What a segment becomes does not depend on
  /// those beside it, to the last bit.
  void step(std::span<Segment* const> segments);

  /// Runs tokens as the continuation of what `cache` holds, and adds them to it. Returns their logits, which
  /// the next run overwrites.
  std::span<float> run(std::span<const int> tokens, KvCache& cache, LogitsOf wanted);
  /// How many recursions each token of the last run() passed.
  [[nodiscard]] const std::vector<int>& recursions() const { return only_.recursions(); }

 private:
  using Member = Crew::Member;

  void prepare(std::span<Segment* const> segments);
  void run_layers(Member& member, std::span<Segment* const> segments);
  void gather_active(std::span<Segment* const> segments);
  void merge_active(std::span<Segment* const> segments);
  void choose(Segment& segment);
  void gather_wanted(std::span<Segment* const> segments);
  void deliver(std::span<Segment* const> segments);
  void add_entries(const Segment& segment, std::int64_t begin, std::int64_t end);
  [[nodiscard]] std::int64_t block_begin(const Segment& segment) const {
    return ends_ + segment.recursion_ * block_;
  }

  const DecoderConfig& config_;
  std::int64_t ends_;        // layers before the recursions, and after them
  std::int64_t block_;       // layers of a recursion
  std::int64_t recursions_;  // 1 where they are not steps of their own
  Crew crew_;
  LayerRunner layers_;
  Router router_;
  // Rows of a step: in the layers before the recursions, in one, in those after, and at the end. Each phase
  // has its own: a thread may still be on its way out of one when others gather the next.
  Rows started_, recurring_, finishing_, scored_;
  std::vector<int> ids_;                 // of started_
  std::vector<std::int64_t> positions_;  // for add_entries
  Segment only_;                         // of run()
};

}  // namespace taesr
