#include "decoder/device/device_kv_cache.h"

#include <utility>

namespace taesr {

DeviceKvCache::DeviceKvCache(std::shared_ptr<PagePool> pool)
    : pool_(std::move(pool)), lists_(static_cast<std::size_t>(pool_->layout().lists())) {}

DeviceKvCache::~DeviceKvCache() {
  for (std::size_t i = 0; i < lists_.size(); ++i) {
    pool_->give_back(static_cast<std::int64_t>(i), lists_[i].pages);
  }
}

std::int64_t DeviceKvCache::add(std::int64_t list, std::int64_t entries) {
  List& to = lists_[static_cast<std::size_t>(list)];
  pool_->extend(list, to.entries + entries, to.pages);
  return std::exchange(to.entries, to.entries + entries);
}

std::span<const std::int64_t> DeviceKvCache::pages(std::int64_t list) const {
  return lists_[static_cast<std::size_t>(list)].pages;
}

template <class Layers>
std::size_t DeviceKvCache::sum(const Layers& layers) const {
  std::int64_t entries = 0;
  for (std::size_t i = 0; i < lists_.size(); ++i) {
    entries += lists_[i].entries * layers(static_cast<std::int64_t>(i));
  }
  return static_cast<std::size_t>(entries * layout().entry_size() * pool_->element_size());
}

std::size_t DeviceKvCache::bytes() const {
  return sum([&](std::int64_t list) { return layout().slots(list); });
}

std::size_t DeviceKvCache::bytes_read() const {
  return sum([&](std::int64_t list) { return layout().readers(list); });
}

}  // namespace taesr
