#include "index/vector_table.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "index/top_k.h"

namespace taesr {
namespace {

constexpr std::size_t kAhead = 4;  // rows

}  // namespace

/// Where the next row goes.
std::byte* VectorTable::place(std::size_t slot) {
  if (slot / kBlockRows == blocks_.size())
    blocks_.push_back(std::make_unique_for_overwrite<std::byte[]>(kBlockRows * format_.bytes()));
  return blocks_.back().get() + slot % kBlockRows * format_.bytes();
}

void VectorTable::append(std::int64_t id, std::span<const float> vector) {
  format_.write(vector, place(ids_.size()));
  ids_.push_back(id);
  live_slots_.push_back(true);
  ++live_count_;
}

void VectorTable::append_row(std::int64_t id, const std::byte* row) {
  std::memcpy(place(ids_.size()), row, format_.bytes());
  ids_.push_back(id);
  live_slots_.push_back(true);
  ++live_count_;
}

void VectorTable::mark_deleted(std::uint32_t slot) {
  live_count_ -= live_slots_[slot] ? 1 : 0;
  live_slots_[slot] = false;
}

float VectorTable::score(std::span<const float> query, std::size_t slot) const {
  const float product = format_.product(query.data(), row(slot), query.size());
  if (query.size() == dimension()) return product;
  const float squares = format_.squared_length(row(slot), query.size());
  return squares > 0 ? product / std::sqrt(squares) : 0;
}

std::vector<Candidate> VectorTable::nearest(std::span<const float> query, std::size_t k,
                                            const std::vector<std::uint32_t>* slots) const {
  TopK best(k);
  const auto offer = [&](std::uint32_t slot) {
    if (!is_deleted(slot)) best.offer({ids_[slot], score(query, slot)});
  };
  if (slots != nullptr) {
    for (std::size_t i = 0; i < slots->size(); ++i) {
      // Rows in line are fetched ahead by the processor; these stand apart.
      const std::byte* next = row((*slots)[std::min(i + kAhead, slots->size() - 1)]);
      for (std::size_t at = 0; at < format_.bytes(); at += 64) __builtin_prefetch(next + at);
      offer((*slots)[i]);
    }
  } else {
    for (std::uint32_t slot = 0; slot < ids_.size(); ++slot) offer(slot);
  }
  return best.take();
}

}  // namespace taesr
