#include "index/vector_table.h"

#include <cmath>
#include <cstring>

#include "index/top_k.h"

namespace taesr {

void VectorTable::append(std::int64_t id, std::span<const float> vector) {
  const std::size_t slot = ids_.size();
  if (slot % kBlockRows == 0)
    blocks_.push_back(std::make_unique_for_overwrite<float[]>(kBlockRows * dimension_));
  std::memcpy(blocks_.back().get() + slot % kBlockRows * dimension_, vector.data(),
              dimension_ * sizeof(float));
  ids_.push_back(id);
  deleted_.push_back(0);
}

void VectorTable::mark_deleted(std::uint32_t slot) {
  deleted_count_ += deleted_[slot] == 0 ? 1 : 0;
  deleted_[slot] = 1;
}

float VectorTable::cosine(std::span<const float> query, std::size_t slot) const {
  const float* vector = row(slot);
  const float product = inner_product_(query.data(), vector, query.size());
  if (query.size() == dimension_) return product;
  const float squares = inner_product_(vector, vector, query.size());
  return squares > 0 ? product / std::sqrt(squares) : 0;
}

std::vector<Candidate> VectorTable::nearest(std::span<const float> query, std::size_t k,
                                            const std::vector<std::uint32_t>* slots) const {
  TopK best(k);
  const auto offer = [&](std::uint32_t slot) {
    if (!is_deleted(slot)) best.offer({ids_[slot], cosine(query, slot)});
  };
  if (slots != nullptr) {
    for (const std::uint32_t slot : *slots) offer(slot);
  } else {
    for (std::uint32_t slot = 0; slot < ids_.size(); ++slot) offer(slot);
  }
  return best.take();
}

}  // namespace taesr
