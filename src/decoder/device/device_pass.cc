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
  finish(expected_);
  meanwhile();
  advance(segments);
  deliver(expected_);
  finish(late_);
  deliver(late_);
  layers.wait();  // what has been sent may be overwritten
  for (Segment* const segment : segments) {
    if (!segment->finished_) continue;
    segment->cache_->advance(segment->count());
    states_of(*segment).release();
  }
}

/// Rows of segments that begin and of those that go on, and room for what they leave.
void DevicePass::gather(std::span<Segment* const> segments) {
  tokens_ = 0;
  addresses_.clear();
  lists_.clear();
  started_.clear();
  recurring_.clear();
  expected_.clear();
  late_.clear();
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
  if (may_end(segment)) end(segment, pages, expected_);
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

/// Whether the segment goes through the last layers before the host knows if this recursion is its last:
/// what they leave of those that go on is overwritten, and waiting for the router takes longer than that.
bool DevicePass::may_end(const Segment& segment) const {
  if (segment.recursion_ + 1 == decoder_.stages_.recursions) return true;
  return decoder_.model_.router.kind != DecodeRouter::kNone && segment.count() == 1 && segment.enough_ > 0;
}

/// All of a segment's tokens together: in the last layers each sees those before it.
void DevicePass::end(Segment& segment, std::int32_t list, Ending& ending) {
  const auto first = static_cast<std::int64_t>(ending.rows.size());
  for (std::int64_t token = 0; token < segment.count(); ++token) {
    ending.rows.push_back(row_of(segment, token, list));
  }
  const std::int64_t wanted = segment.count() - segment.first_wanted();
  if (wanted == 0) return;
  const bool whole = segment.enough_ == 0 || segment.wanted_ == LogitsOf::kAllTokens;
  (whole ? ending.whole : ending.few).push_back({&segment, first + segment.first_wanted(), wanted});
  if (!whole) ending.most = std::max(ending.most, segment.enough_);
}

void DevicePass::finish(Ending& ending) {
  const bool scored = !ending.whole.empty() || !ending.few.empty();
  if (ending.rows.empty() || (decoder_.stages_.ends == 0 && !scored)) return;
  decoder_.layers_.finish(ending.rows, decoder_.states_->states());
  find_best(ending);
}

/// After a recursion: which tokens pass the next one, and which segments need no other.
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
    const bool expected = may_end(segment);
    const std::size_t rows = segment.active_.size();
    for (const std::int64_t token : segment.active_) {
      segment.passed_[static_cast<std::size_t>(token)] +=
          static_cast<int>(decoder_.model_.config.recursions / recursions);
    }
    if (++segment.recursion_ < recursions && routed) choose(segment, going.subspan(row, rows));
    row += rows;
    segment.finished_ = segment.recursion_ == recursions || segment.active_.empty();
    if (!segment.finished_) continue;
    segment.activate_all();
    if (!expected) end(segment, lists_[i], late_);
  }
}

/// Leaves the tokens that pass the segment's next recursion active.
void DevicePass::choose(Segment& segment, std::span<const std::int32_t> going) const {
  const bool by_token = decoder_.model_.router.kind == DecodeRouter::kTokenChoice;
  const auto least = static_cast<std::int32_t>(by_token ? segment.recursion_ : 1);
  std::size_t row = 0;
  std::erase_if(segment.active_, [&](std::int64_t) { return going[row++] < least; });
}

/// Sends the best scores on their way.
void DevicePass::find_best(Ending& ending) {
  if (ending.few.empty()) return;
  ending.most = std::min(ending.most, static_cast<std::size_t>(decoder_.model_.config.vocab_size));
  ending.best.resize(ending.few.size() * ending.most);
  for (ending.fetched = 0;;) {
    const std::size_t rows = std::min(ending.few.size() - ending.fetched, kScoredRows);
    wanted_.clear();
    for (std::size_t i = 0; i < rows; ++i) wanted_.push_back(ending.few[ending.fetched + i].first);
    decoder_.layers_.find_best(wanted_, static_cast<std::int64_t>(ending.most));
    if (ending.fetched + rows == ending.few.size()) return;
    fetch_best(ending, rows);
  }
}

/// The next rows' best scores, which are waited for.
void DevicePass::fetch_best(Ending& ending, std::size_t rows) {
  decoder_.layers_.best(std::span(ending.best).subspan(ending.fetched * ending.most, rows * ending.most));
  ending.fetched += rows;
}

void DevicePass::deliver(Ending& ending) {
  if (!ending.few.empty()) fetch_best(ending, ending.few.size() - ending.fetched);
  for (std::size_t i = 0; i < ending.few.size(); ++i) {
    Segment& segment = *ending.few[i].segment;
    if (segment.finished_) segment.best_ = std::span(ending.best).subspan(i * ending.most, ending.most);
  }
  deliver_logits(ending);
}

void DevicePass::deliver_logits(Ending& ending) {
  wanted_.clear();
  for (const Wish& wish : ending.whole) {
    for (std::int64_t i = 0; i < wish.count; ++i) wanted_.push_back(wish.first + i);
  }
  const std::int64_t vocabulary = decoder_.model_.config.vocab_size;
  ending.logits.resize(wanted_.size() * static_cast<std::size_t>(vocabulary));
  float* to = ending.logits.data();
  for (std::size_t done = 0; done < wanted_.size(); done += kScoredRows) {
    const auto part = std::span(wanted_).subspan(done, std::min(wanted_.size() - done, kScoredRows));
    const auto scores = decoder_.layers_.score(part);
    at::from_blob(to, scores.sizes(), at::kFloat).copy_(scores);
    to += scores.numel();
  }
  float* row = ending.logits.data();
  for (const Wish& wish : ending.whole) {
    wish.segment->logits_ = {row, static_cast<std::size_t>(wish.count * vocabulary)};
    row += wish.segment->logits_.size();
  }
}

void DevicePass::Ending::clear() {
  rows.clear();
  whole.clear();
  few.clear();
  most = 1;
}

}  // namespace taesr
