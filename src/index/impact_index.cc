#include "index/impact_index.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <numeric>
#include <string>

#include "index/top_k.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

constexpr std::uint32_t kIds = section_tag("IDS ");
constexpr std::uint32_t kDeleted = section_tag("DEAD");
constexpr std::uint32_t kTerms = section_tag("TERM");

constexpr std::size_t kFirstBlocks = 8;  // scored before all others, so that the pruning has a score to go by
constexpr float kDone = -1;

/// Levels are read as they were written, lower byte first, on the machines that this library is for.
template <typename Level>
void add_levels(const std::uint8_t* places, const std::uint8_t* levels, std::size_t count, float weight,
                float* scores) {
  for (std::size_t i = 0; i < count; ++i) {
    Level level;
    std::memcpy(&level, levels + i * sizeof level, sizeof level);
    scores[places[i] % ImpactIndex::kBlock] += weight * static_cast<float>(level);
  }
}

}  // namespace

/// One query on its way through the blocks.
class ImpactSearch {
 public:
  ImpactSearch(const ImpactIndex& index, const SparseVector& query, std::size_t k,
               const ImpactIndex::Bitmap* allowed)
      : index_(index), allowed_(allowed), best_(std::min(k, index.live_count_)), bounds_(index.blocks()) {
    for (const PieceWeight& entry : query) {
      if (!(entry.weight > 0) || !std::isfinite(entry.weight)) {
        throw InvalidArgument("a query has a term of weight " + std::to_string(entry.weight) +
                              "; weights must be finite and above 0");
      }
      const auto found = index.terms_.find(entry.piece);
      if (found == index.terms_.end()) continue;
      const ImpactIndex::Term& term = found->second;
      terms_.push_back({entry.weight * term.step, term.first, term.last});
    }
  }

  [[nodiscard]] std::vector<Candidate> run(std::size_t k, bool pruned) {
    if (terms_.empty() || k == 0 || index_.live_count_ == 0) return {};
    for (const QueryTerm& term : terms_) {
      for (std::size_t i = term.next; i < term.last; ++i) {
        const ImpactIndex::Entry& entry = index_.entries_[i];
        bounds_[entry.block] += term.weight * static_cast<float>(entry.largest);
      }
    }
    if (pruned) {
      for (const std::uint32_t block : most_promising(kFirstBlocks + k / ImpactIndex::kBlock)) {
        score_out_of_turn(block);
        bounds_[block] = kDone;
      }
    }
    for (std::uint32_t block = 0; block < bounds_.size(); ++block) {
      if (bounds_[block] <= 0 || (pruned && best_.full() && bounds_[block] < best_.worst().score)) continue;
      score_in_turn(block);
    }
    return best_.take();
  }

 private:
  struct QueryTerm {
    float weight = 0;      // of a level
    std::size_t next = 0;  // entry; those before are of blocks that have been passed
    std::size_t last = 0;
  };

  std::vector<std::uint32_t> most_promising(std::size_t count) const {
    std::vector<std::uint32_t> order(bounds_.size());
    std::iota(order.begin(), order.end(), 0);
    count = std::min(count, order.size());
    const auto higher = [&](std::uint32_t a, std::uint32_t b) { return bounds_[a] > bounds_[b]; };
    std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count), order.end(), higher);
    order.resize(count);
    std::erase_if(order, [&](std::uint32_t block) { return bounds_[block] <= 0; });
    return order;
  }

  void score_out_of_turn(std::uint32_t block) {
    const auto before = [](const ImpactIndex::Entry& entry, std::uint32_t b) { return entry.block < b; };
    for (const QueryTerm& term : terms_) {
      const auto first = index_.entries_.begin() + static_cast<std::ptrdiff_t>(term.next);
      const auto last = index_.entries_.begin() + static_cast<std::ptrdiff_t>(term.last);
      const auto entry = std::lower_bound(first, last, block, before);
      if (entry != last && entry->block == block) add(&*entry, term.weight);
    }
    offer(block);
  }

  /// Blocks must come in ascending order.
  void score_in_turn(std::uint32_t block) {
    for (QueryTerm& term : terms_) {
      while (term.next < term.last && index_.entries_[term.next].block < block) ++term.next;
      if (term.next < term.last && index_.entries_[term.next].block == block)
        add(&index_.entries_[term.next], term.weight);
    }
    offer(block);
  }

  void add(const ImpactIndex::Entry* entry, float weight) {
    const std::size_t begin = entry->begin;
    const std::size_t count = entry[1].begin - begin;
    const std::uint8_t* levels = index_.levels_.data() + begin * index_.width_;
    if (index_.width_ == 1) {
      add_levels<std::uint8_t>(index_.places_.data() + begin, levels, count, weight, scores_);
    } else {
      add_levels<std::uint16_t>(index_.places_.data() + begin, levels, count, weight, scores_);
    }
  }

  /// Offers those of the block's scores that may be among the best, and makes all of them zero again.
  void offer(std::uint32_t block) {
    const float bar = best_.full() ? best_.worst().score : 0;
    std::uint64_t chosen = 0;
    for (std::size_t i = 0; i < ImpactIndex::kBlock; ++i) {
      chosen |= std::uint64_t{scores_[i] > 0 && scores_[i] >= bar} << i;
    }
    chosen &= index_.live_[block];
    if (allowed_ != nullptr) chosen &= (*allowed_)[block];
    for (std::uint64_t left = chosen; left != 0; left &= left - 1) {
      const auto place = static_cast<std::size_t>(std::countr_zero(left));
      best_.offer({index_.ids_[block * ImpactIndex::kBlock + place], scores_[place]});
    }
    std::fill(std::begin(scores_), std::end(scores_), 0.0F);
  }

  const ImpactIndex& index_;
  const ImpactIndex::Bitmap* allowed_;
  TopK best_;
  std::vector<float> bounds_;  // by block: no text of it has a higher score
  std::vector<QueryTerm> terms_;
  float scores_[ImpactIndex::kBlock] = {};  // of the block at hand
};

std::uint32_t ImpactIndex::level(std::uint64_t posting) const {
  if (width_ == 1) return levels_[posting];
  return levels_[2 * posting] | std::uint32_t{levels_[2 * posting + 1]} << 8;
}

void ImpactIndex::put_level(std::uint32_t level) {
  levels_.push_back(static_cast<std::uint8_t>(level));
  if (width_ == 2) levels_.push_back(static_cast<std::uint8_t>(level >> 8));
}

std::vector<Candidate> ImpactIndex::search(const SparseVector& query, std::size_t k,
                                           const Bitmap* allowed) const {
  return ImpactSearch(*this, query, k, allowed).run(k, true);
}

std::vector<Candidate> ImpactIndex::search_all(const SparseVector& query, std::size_t k,
                                               const Bitmap* allowed) const {
  return ImpactSearch(*this, query, k, allowed).run(k, false);
}

ImpactIndex::Bitmap ImpactIndex::bitmap_of(const IdList& ids) const {
  Bitmap bitmap(blocks());
  for (const std::uint32_t slot : positions_of(ids, ids_)) bitmap[slot / kBlock] |= std::uint64_t{1} << slot % kBlock;
  return bitmap;
}

void ImpactIndex::remove(const IdList& ids) {
  for (const std::uint32_t slot : positions_of(ids, ids_)) {
    const std::uint64_t bit = std::uint64_t{1} << slot % kBlock;
    if ((live_[slot / kBlock] & bit) != 0) --live_count_;
    live_[slot / kBlock] &= ~bit;
  }
}

IdList ImpactIndex::live_ids() const {
  IdList ids;
  for (std::size_t slot = 0; slot < ids_.size(); ++slot) {
    if ((live_[slot / kBlock] >> slot % kBlock & 1) != 0) ids.push_back(ids_[slot]);
  }
  return ids;
}

std::size_t ImpactIndex::bytes() const {
  return places_.size() + levels_.size() + entries_.size() * sizeof(Entry);
}

std::vector<IndexSection> ImpactIndex::save() const {
  ByteWriter ids;
  ByteWriter deleted;
  ByteWriter terms;
  ids.put_all(ids_.data(), ids_.size());
  for (std::size_t slot = 0; slot < ids_.size(); ++slot) {
    deleted.put(static_cast<std::uint8_t>(~live_[slot / kBlock] >> slot % kBlock & 1));
  }
  terms.put(width_);
  int previous = -1;
  for (const auto& [piece, term] : terms_) {
    terms.put_varint(static_cast<std::uint32_t>(piece - previous));
    terms.put(term.step);
    terms.put_varint(static_cast<std::uint32_t>(term.last - term.first));
    std::uint32_t next_block = 0;
    for (std::size_t i = term.first; i < term.last; ++i) {
      const std::size_t begin = entries_[i].begin;
      const std::size_t count = entries_[i + 1].begin - begin;
      terms.put_varint(entries_[i].block - next_block);
      terms.put(static_cast<std::uint8_t>(count));
      terms.put_all(places_.data() + begin, count);
      terms.put_all(levels_.data() + begin * width_, count * width_);
      next_block = entries_[i].block + 1;
    }
    previous = piece;
  }
  return {{kIds, ids.take()}, {kDeleted, deleted.take()}, {kTerms, terms.take()}};
}

ImpactIndex ImpactIndex::load(const IndexFile& file) {
  ByteReader ids(file.section(kIds), file.name());
  ByteReader deleted(file.section(kDeleted), file.name());
  ImpactIndex index;
  index.ids_ = ids.get_all<std::int64_t>(ids.remaining() / sizeof(std::int64_t));
  ids.expect_end();
  if (index.ids_.size() > UINT32_MAX) ids.fail("has too many texts");
  index.live_.resize(index.blocks());
  for (std::size_t slot = 0; slot < index.ids_.size(); ++slot) {
    if (index.ids_[slot] <= (slot == 0 ? 0 : index.ids_[slot - 1])) ids.fail("has ids out of order");
    const auto flag = deleted.get<std::uint8_t>();
    if (flag > 1) deleted.fail("has a deletion mark that is neither 0 nor 1");
    if (flag == 1) continue;
    index.live_[slot / kBlock] |= std::uint64_t{1} << slot % kBlock;
    ++index.live_count_;
  }
  deleted.expect_end();
  ByteReader terms(file.section(kTerms), file.name());
  index.load_terms(terms);
  return index;
}

void ImpactIndex::load_terms(ByteReader& reader) {
  width_ = reader.get<std::uint32_t>();
  if (width_ != 1 && width_ != 2) reader.fail("has weights of an unknown width");
  std::int64_t piece = -1;
  while (reader.remaining() > 0) {
    const std::uint32_t step = reader.get_varint();
    piece += step;
    if (step == 0 || piece > INT32_MAX) reader.fail("has terms out of order");
    Term term{reader.get<float>(), entries_.size() - 1, 0};
    if (!(term.step >= 0) || !std::isfinite(term.step)) reader.fail("has a term with an impossible weight");
    const std::uint32_t count = reader.get_varint();
    if (count == 0 || count > blocks()) reader.fail("has a term in an impossible number of blocks");
    std::uint64_t block = 0;
    for (std::uint32_t i = 0; i < count; ++i, ++block) {
      block += reader.get_varint();
      if (block >= blocks()) reader.fail("has a term in a block that does not exist");
      load_entry(reader, static_cast<std::uint32_t>(block));
    }
    term.last = entries_.size() - 1;
    terms_.emplace(static_cast<int>(piece), term);
  }
}

void ImpactIndex::load_entry(ByteReader& reader, std::uint32_t block) {
  const auto count = reader.get<std::uint8_t>();
  if (count == 0 || count > kBlock) reader.fail("has a block with an impossible number of texts");
  const auto places = reader.get_all<std::uint8_t>(count);
  const auto levels = reader.get_all<std::uint8_t>(count * width_);
  for (std::size_t i = 0; i < count; ++i) {
    if (i > 0 && places[i] <= places[i - 1]) reader.fail("has texts out of order");
  }
  if (block * kBlock + places.back() >= ids_.size()) reader.fail("has a term in a text that does not exist");
  entries_.back() = {block, 0, places_.size()};
  places_.insert(places_.end(), places.begin(), places.end());
  levels_.insert(levels_.end(), levels.begin(), levels.end());
  std::uint32_t largest = 0;
  for (std::size_t i = places_.size() - count; i < places_.size(); ++i) {
    if (level(i) == 0) reader.fail("has a weight of nothing");
    largest = std::max(largest, level(i));
  }
  entries_.back().largest = largest;
  entries_.push_back({0, 0, places_.size()});
}

}  // namespace taesr
