#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "decoder/kv_cache.h"
#include "decoder/router.h"
#include "taesr/decoder_config.h"

namespace taesr {

enum class LogitsOf { kNone, kLastToken, kAllTokens };

/// A token with its score.
struct ScoredToken {
  int token = -1;  // -1: scores are not numbers
  float score = 0;
};

/// Tokens of one sequence that go through a decoder side by side: some of a prompt, or the last of a text.
/// Those of a sequence's next segment come after it.
class Segment {
 public:
  /// What a pass keeps for a segment between steps, where it is not the computer's memory.
  struct Memory {
    Memory() = default;
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
    virtual ~Memory() = default;
  };

  /// Tokens that continue what `cache` holds. Ids are below vocab_size, and cache.length() plus their number
  /// is at most max_positions: check_tokens. Of the last token's scores the `enough` best are enough, if that
  /// is not 0; a pass may give all of them.
  void begin(std::span<const int> tokens, KvCache& cache, LogitsOf wanted, std::size_t enough = 0);

  /// Whether the tokens have passed all layers, and are in the cache.
  [[nodiscard]] bool finished() const { return finished_; }
  /// Rows that the next step of a ForwardPass computes in the shared layers.
  [[nodiscard]] std::int64_t active() const { return static_cast<std::int64_t>(active_.size()); }
  /// How many recursions each token has passed.
  [[nodiscard]] const std::vector<int>& recursions() const { return passed_; }

  // Once finished and until the next step; for the last token one of the two is there.

  /// Logits [0, 1 or tokens, vocab_size].
  [[nodiscard]] std::span<float> logits() const { return logits_; }
  /// The best scores, best first.
  [[nodiscard]] std::span<const ScoredToken> best() const { return best_; }
  [[nodiscard]] bool has_scores() const { return !logits_.empty() || !best_.empty(); }

 private:
  friend class HostPass;
  friend class DevicePass;
  friend class StepRows;
  [[nodiscard]] std::int64_t count() const { return static_cast<std::int64_t>(tokens_.size()); }
  /// Index of the first token whose logits are wanted.
  [[nodiscard]] std::int64_t first_wanted() const;
  /// All tokens go on, as after the last recursion.
  void activate_all();

  KvCache* cache_ = nullptr;
  std::vector<int> tokens_;
  LogitsOf wanted_ = LogitsOf::kNone;
  std::size_t enough_ = 0;
  std::int64_t first_ = 0;               // position
  std::int64_t recursion_ = 0;           // the next one
  std::vector<std::int64_t> active_;     // tokens that pass it, ascending
  std::vector<float> states_;            // [tokens, hidden], before it
  std::vector<Router::Choice> choices_;  // by token
  std::unique_ptr<Memory> memory_;
  std::vector<int> passed_;  // by token
  bool finished_ = true;
  std::span<float> logits_;
  std::span<const ScoredToken> best_;
};

/// The parts of a decoder that segments pass: layers before the recursions, one recursion a step, and layers
/// after them.
struct LayerStages {
  explicit LayerStages(const DecoderConfig& config);

  std::int64_t ends;        // layers before, and as many after
  std::int64_t block;       // layers of a recursion
  std::int64_t recursions;  // 1 where they are not steps of their own
  /// Index of the first layer after the recursions.
  [[nodiscard]] std::int64_t last() const { return ends + recursions * block; }
};

/// Runs segments through a decoder, those of many sequences in one batch. Not for several threads at once.
/// The decoder must outlive it.
class ForwardPass {
 public:
  using Meanwhile = std::function<void()>;

  virtual ~ForwardPass() = default;

  /// Takes each segment through one recursion of the shared layers: those that have just begun through the
  /// layers before them too, and those whose tokens need no further recursion through the layers after them.
  /// Segments may be at different recursions, whose layers are the same (depth-wise batching, Bae et al.
  /// 2024, arXiv 2410.20672). Their sequences are different ones. What a segment becomes does not depend on
  /// those beside it: on the CPU to the last bit.
  ///
  /// `meanwhile` is called once, where a GPU is at work; it must leave the segments alone.
  void step(std::span<Segment* const> segments, const Meanwhile& meanwhile = [] {}) {
    do_step(segments, meanwhile);
  }

  /// Runs tokens as the continuation of what `cache` holds, and adds them to it. The segment is the last
  /// run's, and overwritten by the next one's.
  const Segment& run(std::span<const int> tokens, KvCache& cache, LogitsOf wanted, std::size_t enough = 0);

 private:
  virtual void do_step(std::span<Segment* const> segments, const Meanwhile& meanwhile) = 0;

  Segment only_;
};

}  // namespace taesr
