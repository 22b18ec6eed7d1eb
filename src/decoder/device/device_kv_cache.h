#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "decoder/device/page_pool.h"
#include "decoder/kv_cache.h"

namespace taesr {

/// Keys and values of one sequence in a pool's pages.
class DeviceKvCache final : public KvCache {
 public:
  explicit DeviceKvCache(std::shared_ptr<PagePool> pool);
  DeviceKvCache(const DeviceKvCache&) = delete;
  DeviceKvCache& operator=(const DeviceKvCache&) = delete;
  ~DeviceKvCache() override;

  /// Makes room for so many further entries in a list; returns how many it had before.
  std::int64_t add(std::int64_t list, std::int64_t entries);
  /// Addresses of a list's pages on the device.
  [[nodiscard]] std::span<const std::int64_t> pages(std::int64_t list) const;

  [[nodiscard]] std::size_t bytes() const override;
  [[nodiscard]] std::size_t bytes_read() const override;

 private:
  struct List {
    std::vector<std::int64_t> pages;
    std::int64_t entries = 0;
  };

  [[nodiscard]] const KvLayout& layout() const { return pool_->layout(); }
  /// Sum over lists of entries times layers(list), in bytes.
  template <class Layers>
  [[nodiscard]] std::size_t sum(const Layers& layers) const;

  std::shared_ptr<PagePool> pool_;
  std::vector<List> lists_;
};

}  // namespace taesr
