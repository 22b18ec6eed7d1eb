#include "decoder/device/device_pass.h"

#include <algorithm>
#include <mutex>

#include <ATen/ops/from_blob.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/StreamGuard.h>

namespace taesr {
namespace {

/// Rows whose logits are there at a time.
constexpr std::size_t kScoredRows = 1024;

}  // namespace

void DevicePass::do_step(std::span<Segment* const> segments, const Meanwhile& meanwhile) {
  const std::lock_guard lock(decoder_.mutex_);
  const c10::InferenceMode inference;
  const c10::StreamGuard stream(decoder_.stream_);
  DeviceLayers& layers = decoder_.layers_;
  gather(segments);
  DecodeStates& states = decoder_.states_->states();
  layers.prepare(addresses_, tokens_);
  layers.start(started_, states);
  layers.recur(recurring_, states);
  meanwhile();
  advance(segments);
  if (decoder_.stages_.ends > 0 || !whole_.empty() || !few_.empty()) layers.finish(finishing_, states);
  deliver(segments);
  layers.wait();  // what has been sent may be overwritten
}

/// Rows of segments that begin and of those that go on, and room for what they leave.
void DevicePass::gather(std::span<Segment* const> segments) {
  tokens_ = 0;
  addresses_.clear();
  lists_.clear();
  started_.clear();
  recurring_.clear();
  finishing_.clear();
  whole_.clear();
  few_.clear();
  for (Segment* const segment : segments) {
    tokens_ += segment->count();
    if (segment->recursion_ == 0) {
      if (!segment->memory_) segment->memory_ = std::make_unique<KeptStates>(decoder_.states_);
      states_of(*segment).release();  // of what it has left unfinished
      decoder_.states_->take(segment->count(), states_of(*segment).rows);
    }
    gather(*segment);
  }
}

void DevicePass::gather(Segment& segment) {
  const KvLayout& layout = decoder_.pages_->layout();
  const std::int64_t recursion = segment.recursion_;
  const std::int64_t list = layout.list_of(recursion);
  const bool adds = layout.adds(recursion);
  const std::int64_t before = cache_of(segment).add(list, adds ? segment.active() : 0);
  const std::int32_t pages = add_pages(segment, 0);
  const std::int32_t own_pages = list == 0 ? pages : add_pages(segment, list);
  lists_.push_back(pages);
  std::int64_t entry = before;
  for (const std::int64_t token : segment.active_) {
    DecodeRow row = row_of(segment, token, pages);
    if (recursion == 0) {
      row.recursion = -1;
      started_.push_back(row);
    }
    row.recursion = static_cast<std::int32_t>(recursion);
    if (!adds) row.entry = -1;
    if (list > 0) {  // tokens that did not come here have left no entries
      row.entry = static_cast<std::int32_t>(entry++);
      row.visible = row.entry + 1;
      row.list = own_pages;
      row.slot = static_cast<std::int32_t>(-layout.shift(list));
    }
    recurring_.push_back(row);
  }
}

std::int32_t DevicePass::add_pages(const Segment& segment, std::int64_t list) {
  const auto begin = static_cast<std::int32_t>(addresses_.size());
  const auto pages = cache_of(segment).pages(list);
  addresses_.insert(addresses_.end(), pages.begin(), pages.end());
  return begin;
}

/// A row that reads and adds to list 0, which begins at `list`.
DecodeRow DevicePass::row_of(const Segment& segment, std::int64_t token, std::int32_t list) {
  const auto at = static_cast<std::size_t>(token);
  const auto position = static_cast<std::int32_t>(segment.first_ + token);
  return {.id = segment.tokens_[at],
          .state = states_of(segment).rows[at],
          .recursion = 0,
          .position = position,
          .visible = position + 1,
          .entry = position,
          .list = list,
          .slot = 0};
}

/// After a recursion: which tokens pass the next one, and rows of segments that need no other.
void DevicePass::advance(std::span<Segment* const> segments) {
  const std::int64_t recursions = decoder_.stages_.recursions;
  const bool routed = decoder_.model_.router.kind != DecodeRouter::kNone;
  const bool asks = routed && std::any_of(segments.begin(), segments.end(), [&](const Segment* segment) {
    return segment->recursion_ + 1 < recursions;
  });
  const std::span<const std::int32_t> going =
      asks ? decoder_.layers_.going(recurring_.size()) : std::span<const std::int32_t>();
  std::size_t row = 0;
  for (std::size_t i = 0; i < segments.size(); ++i) {
    Segment& segment = *segments[i];
    const std::size_t rows = segment.active_.size();
    for (const std::int64_t token : segment.active_) {
      segment.passed_[static_cast<std::size_t>(token)] +=
          static_cast<int>(decoder_.model_.config.recursions / recursions);
    }
    if (++segment.recursion_ < recursions && routed) choose(segment, going.subspan(row, rows));
    row += rows;
    segment.finished_ = segment.recursion_ == recursions || segment.active_.empty();
    if (segment.finished_) finish(segment, lists_[i]);
  }
}

/// Leaves the tokens that pass the segment's next recursion active.
void DevicePass::choose(Segment& segment, std::span<const std::int32_t> going) const {
  const bool by_token = decoder_.model_.router.kind == DecodeRouter::kTokenChoice;
  const auto least = static_cast<std::int32_t>(by_token ? segment.recursion_ : 1);
  std::size_t row = 0;
  std::erase_if(segment.active_, [&](std::int64_t) { return going[row++] < least; });
}

/// All of a segment's tokens together: in the last layers each sees those before it.
void DevicePass::finish(Segment& segment, std::int32_t list) {
  segment.activate_all();
  const auto first = static_cast<std::int64_t>(finishing_.size());
  for (const std::int64_t token : segment.active_) finishing_.push_back(row_of(segment, token, list));
  const std::int64_t wanted = segment.count() - segment.first_wanted();
  if (wanted == 0) return;
  const bool whole = segment.enough_ == 0 || segment.wanted_ == LogitsOf::kAllTokens;
  (whole ? whole_ : few_).push_back({&segment, first + segment.first_wanted(), wanted});
}

void DevicePass::deliver(std::span<Segment* const> segments) {
  deliver_logits();
  deliver_best();
  for (Segment* const segment : segments) {
    if (!segment->finished_) continue;
    segment->cache_->advance(segment->count());
    states_of(*segment).release();
  }
}

void DevicePass::deliver_logits() {
  std::size_t rows = 0;
  for (const Wish& wish : whole_) rows += static_cast<std::size_t>(wish.count);
  if (rows == 0) return;
  const std::int64_t vocabulary = decoder_.model_.config.vocab_size;
  logits_.resize(rows * static_cast<std::size_t>(vocabulary));
  wanted_.clear();
  for (const Wish& wish : whole_) {
    for (std::int64_t i = 0; i < wish.count; ++i) wanted_.push_back(wish.first + i);
  }
  float* to = logits_.data();
  for (std::size_t done = 0; done < rows;) {
    const auto part = std::span(wanted_).subspan(done, std::min(rows - done, kScoredRows));
    const auto scores = decoder_.layers_.score(part);
    at::from_blob(to, scores.sizes(), at::kFloat).copy_(scores);
    to += scores.numel();
    done += part.size();
  }
  float* row = logits_.data();
  for (const Wish& wish : whole_) {
    wish.segment->logits_ = {row, static_cast<std::size_t>(wish.count * vocabulary)};
    row += wish.segment->logits_.size();
  }
}

void DevicePass::deliver_best() {
  if (few_.empty()) return;
  std::size_t most = 1;  // scores
  wanted_.clear();
  for (const Wish& wish : few_) {
    most = std::max(most, wish.segment->enough_);
    wanted_.push_back(wish.first);
  }
  most = std::min(most, static_cast<std::size_t>(decoder_.model_.config.vocab_size));
  best_.resize(few_.size() * most);
  for (std::size_t done = 0; done < few_.size(); done += kScoredRows) {
    const auto part = std::span(wanted_).subspan(done, std::min(few_.size() - done, kScoredRows));
    decoder_.layers_.find_best(part, static_cast<std::int64_t>(most),
                               std::span(best_).subspan(done * most, part.size() * most));
  }
  for (std::size_t i = 0; i < few_.size(); ++i) {
    few_[i].segment->best_ = std::span(best_).subspan(i * most, most);
  }
}

}  // namespace taesr
