#include "decoder/host_pass.h"

#include <algorithm>

namespace taesr {
namespace {

constexpr std::int64_t kOtherStages = 8;

}  // namespace

HostPass::HostPass(const DecoderConfig& config, const DecoderWeights& weights)
    : config_(config),
      stages_(config),
      crew_(static_cast<std::size_t>((2 * stages_.ends + stages_.block) * LayerRunner::kStages +
                                     kOtherStages)),
      layers_(config, weights),
      router_(config, weights) {}

void HostPass::do_step(std::span<Segment* const> segments, const Meanwhile& meanwhile) {
  meanwhile();
  prepare(segments);
  crew_.run([&](Member& member) { run_layers(member, segments); });
  deliver(segments);
}

/// All memory that the crew needs, and the rows of segments that begin.
void HostPass::prepare(std::span<Segment* const> segments) {
  std::int64_t rows = 0;
  std::int64_t positions = 0;
  std::int64_t logits = 0;
  started_.clear();
  recurring_.clear();
  finishing_.clear();
  scored_.clear();
  ids_.clear();
  for (Segment* const segment : segments) {
    rows += segment->count();
    positions = std::max(positions, segment->first_ + segment->count());
    logits += segment->count() - segment->first_wanted();
    if (segment->recursion_ > 0) continue;
    segment->states_.resize(static_cast<std::size_t>(segment->count() * config_.hidden_size));
    add_entries(*segment, 0, stages_.ends);
    for (std::int64_t i = 0; i < segment->count(); ++i) {
      started_.add({cache_of(*segment), segment->first_ + i, 0}, config_.hidden_size);
    }
    ids_.insert(ids_.end(), segment->tokens_.begin(), segment->tokens_.end());
  }
  layers_.reserve(rows, positions, logits);
}

void HostPass::run_layers(Member& member, std::span<Segment* const> segments) {
  layers_.embed(member, ids_, started_);
  for (std::int64_t i = 0; i < stages_.ends; ++i) layers_.apply(member, i, started_);
  member.once([&] { gather_active(segments); });
  for (std::int64_t i = 0; i < stages_.block; ++i) layers_.apply(member, stages_.ends + i, recurring_);
  member.once([&] { merge_active(segments); });
  const std::int64_t last = stages_.last();
  for (std::int64_t i = 0; i < stages_.ends; ++i) layers_.apply(member, last + i, finishing_);
  member.once([&] { gather_wanted(segments); });
  layers_.score(member, scored_);
}

/// Rows of the recursion: first of segments that begin, whose layers always store keys, then of others.
void HostPass::gather_active(std::span<Segment* const> segments) {
  const std::int64_t hidden = config_.hidden_size;
  started_.settle();
  const float* state = started_.states.data();
  for (Segment* const segment : segments) {
    if (segment->recursion_ > 0) continue;
    std::copy_n(state, segment->count() * hidden, segment->states_.data());
    state += segment->count() * hidden;
    choose(*segment);
  }
  for (const bool beginning : {true, false}) {
    for (Segment* const segment : segments) {
      if ((segment->recursion_ == 0) != beginning) continue;
      const std::int64_t begin = block_begin(*segment);
      add_entries(*segment, begin, begin + stages_.block);
      for (const std::int64_t i : segment->active_) {
        float* const row =
            recurring_.add({cache_of(*segment), segment->first_ + i, begin - stages_.ends}, hidden);
        std::copy_n(segment->states_.data() + i * hidden, hidden, row);
      }
    }
  }
}

/// Leaves the tokens that pass the segment's next recursion active.
void HostPass::choose(Segment& segment) {
  std::erase_if(segment.active_, [&](std::int64_t i) {
    return !router_.passes(segment.recursion_, segment.states_.data() + i * config_.hidden_size,
                           segment.choices_[static_cast<std::size_t>(i)]);
  });
}

/// Puts what the recursion made into the segments' states; those that need no other go on to the last layers,
/// all tokens of a segment together: there each sees those before it.
void HostPass::merge_active(std::span<Segment* const> segments) {
  const std::int64_t hidden = config_.hidden_size;
  recurring_.settle();
  const float* row = recurring_.states.data();
  for (const bool beginning : {true, false}) {
    for (Segment* const segment : segments) {
      if ((segment->recursion_ == 0) != beginning) continue;
      for (const std::int64_t i : segment->active_) {
        const auto token = static_cast<std::size_t>(i);
        router_.merge(segment->recursion_, segment->choices_[token], row,
                      segment->states_.data() + i * hidden);
        segment->passed_[token] += static_cast<int>(config_.recursions / stages_.recursions);
        row += hidden;
      }
    }
  }
  const std::int64_t last = stages_.last();
  for (Segment* const segment : segments) {
    if (++segment->recursion_ < stages_.recursions) choose(*segment);
    segment->finished_ = segment->recursion_ == stages_.recursions || segment->active_.empty();
    if (!segment->finished_) continue;
    segment->activate_all();
    add_entries(*segment, last, last + stages_.ends);
    for (const std::int64_t i : segment->active_) {
      float* const state = finishing_.add({cache_of(*segment), segment->first_ + i, 0}, hidden);
      std::copy_n(segment->states_.data() + i * hidden, hidden, state);
    }
  }
}

void HostPass::gather_wanted(std::span<Segment* const> segments) {
  const std::int64_t hidden = config_.hidden_size;
  finishing_.settle();
  const float* state = finishing_.states.data();
  for (const Segment* const segment : segments) {
    if (!segment->finished_) continue;
    for (std::int64_t i = 0; i < segment->count(); ++i, state += hidden) {
      if (i < segment->first_wanted()) continue;
      std::copy_n(state, hidden, scored_.add({cache_of(*segment), segment->first_ + i, 0}, hidden));
    }
  }
}

void HostPass::deliver(std::span<Segment* const> segments) {
  std::span<float> logits = layers_.logits();
  for (Segment* const segment : segments) {
    if (!segment->finished_) continue;
    segment->cache_->advance(segment->count());
    const std::int64_t rows = segment->count() - segment->first_wanted();
    segment->logits_ = logits.first(static_cast<std::size_t>(rows * config_.vocab_size));
    logits = logits.subspan(segment->logits_.size());
  }
}

/// Room for the keys and values of a segment's active tokens in the layers from `begin` to before `end`.
void HostPass::add_entries(const Segment& segment, std::int64_t begin, std::int64_t end) {
  positions_.clear();
  for (const std::int64_t i : segment.active_) positions_.push_back(segment.first_ + i);
  for (std::int64_t i = begin; i < end; ++i) {
    if (cache_of(segment)->stores(i)) cache_of(segment)->add(i, positions_);
  }
}

}  // namespace taesr
