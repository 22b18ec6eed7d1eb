#include <algorithm>
#include <cmath>
#include <string>

#include "index/impact_index.h"
#include "taesr/errors.h"

namespace taesr {

void ImpactBuilder::append(std::int64_t id, const SparseVector& text) {
  int previous = -1;
  for (const PieceWeight& entry : text) {
    if (entry.piece <= previous || !(entry.weight > 0) || !std::isfinite(entry.weight)) {
      throw InvalidArgument("text " + std::to_string(id) + " has piece " + std::to_string(entry.piece) +
                            " of weight " + std::to_string(entry.weight) +
                            "; pieces must ascend from 0, and weights be finite and above 0");
    }
    previous = entry.piece;
  }
  const auto slot = static_cast<std::uint32_t>(ids_.size());
  ids_.push_back(id);
  for (const PieceWeight& entry : text) postings_[entry.piece].push_back({slot, entry.weight});
}

ImpactIndex ImpactBuilder::build(std::uint32_t bits) {
  if (bits != 8 && bits != 16) {
    throw InvalidArgument("weights of " + std::to_string(bits) + " bits; allowed: 8 and 16");
  }
  ImpactIndex index;
  index.width_ = bits / 8;
  index.ids_ = std::move(ids_);
  index.live_count_ = index.ids_.size();
  index.live_.resize(index.blocks());
  for (std::size_t slot = 0; slot < index.ids_.size(); ++slot) {
    index.live_[slot / ImpactIndex::kBlock] |= std::uint64_t{1} << slot % ImpactIndex::kBlock;
  }
  std::vector<int> pieces;
  for (const auto& [piece, postings] : postings_) pieces.push_back(piece);
  std::sort(pieces.begin(), pieces.end());
  for (const int piece : pieces) add_term(index, piece, postings_[piece]);
  *this = ImpactBuilder();
  return index;
}

void ImpactBuilder::add_term(ImpactIndex& index, int piece, const std::vector<Posting>& postings) {
  const auto lighter = [](const Posting& a, const Posting& b) { return a.weight < b.weight; };
  const double largest = std::max_element(postings.begin(), postings.end(), lighter)->weight;
  const double most = index.width_ == 1 ? 255 : 65535;
  ImpactIndex::Term term{static_cast<float>(largest / most), index.entries_.size() - 1, 0};
  std::uint32_t block = UINT32_MAX;
  for (const Posting& posting : postings) {
    const auto level =
        static_cast<std::uint32_t>(std::clamp(std::nearbyint(posting.weight / largest * most), 1.0, most));
    if (posting.slot / ImpactIndex::kBlock != block) {
      block = posting.slot / ImpactIndex::kBlock;
      index.entries_.back() = {block, 0, index.places_.size()};
      index.entries_.emplace_back();
    }
    ImpactIndex::Entry& entry = index.entries_[index.entries_.size() - 2];
    entry.largest = std::max(entry.largest, level);
    index.places_.push_back(static_cast<std::uint8_t>(posting.slot % ImpactIndex::kBlock));
    index.put_level(level);
  }
  index.entries_.back().begin = index.places_.size();
  term.last = index.entries_.size() - 1;
  index.terms_.emplace(piece, term);
}

}  // namespace taesr
