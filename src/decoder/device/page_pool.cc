#include "decoder/device/page_pool.h"

#include <algorithm>

#include <ATen/ops/empty.h>

#include "kernels/decode_row.h"

namespace taesr {
namespace {

constexpr std::int64_t kLeastChunk = std::int64_t{4} << 20;   // bytes
constexpr std::int64_t kMostChunk = std::int64_t{256} << 20;  // bytes

}  // namespace

PagePool::PagePool(const KvLayout& layout, at::ScalarType dtype, at::Device device)
    : layout_(layout),
      options_(at::TensorOptions().dtype(dtype).device(device)),
      element_size_(static_cast<std::int64_t>(c10::elementSize(dtype))) {
  for (const std::int64_t list : {0, 1}) {
    shelves_[list].page_size = layout.slots(list) * layout.entry_size() * kDecodePage;
  }
}

void PagePool::extend(std::int64_t list, std::int64_t entries, std::vector<std::int64_t>& pages) {
  const auto needed = static_cast<std::size_t>((entries + kDecodePage - 1) / kDecodePage);
  if (pages.size() >= needed) return;
  const std::lock_guard lock(mutex_);
  Shelf& from = shelf(list);
  while (pages.size() < needed) {
    if (from.free.empty()) grow(from);
    pages.push_back(from.free.back());
    from.free.pop_back();
  }
}

void PagePool::give_back(std::int64_t list, std::span<const std::int64_t> pages) {
  const std::lock_guard lock(mutex_);
  Shelf& to = shelf(list);
  to.free.insert(to.free.end(), pages.begin(), pages.end());
}

/// A quarter more than there is.
void PagePool::grow(Shelf& shelf) {
  const std::int64_t page_bytes = shelf.page_size * element_size_;
  const std::int64_t bytes = std::clamp(shelf.pages * page_bytes / 4, kLeastChunk, kMostChunk);
  const std::int64_t pages = std::max<std::int64_t>(1, bytes / page_bytes);
  shelf.chunks.push_back(at::empty({pages * shelf.page_size}, options_));
  shelf.pages += pages;
  const auto first = reinterpret_cast<std::int64_t>(shelf.chunks.back().data_ptr());
  shelf.free.reserve(static_cast<std::size_t>(shelf.pages));  // so that give_back does not throw
  for (std::int64_t i = pages; i-- > 0;) shelf.free.push_back(first + i * page_bytes);
}

}  // namespace taesr
