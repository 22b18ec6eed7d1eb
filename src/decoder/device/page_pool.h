#pragma once

#include <cstdint>
#include <mutex>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

#include "decoder/device/kv_layout.h"

namespace taesr {

/// Pages of keys and values on a device, which all sequences of a decoder take from. Memory grows with what
/// is used, and is kept for the next sequences. Safe concurrently.
class PagePool {
 public:
  PagePool(const KvLayout& layout, at::ScalarType dtype, at::Device device);

  /// Adds pages for a list's entries up to `entries` to those it has; their addresses on the device.
  void extend(std::int64_t list, std::int64_t entries, std::vector<std::int64_t>& pages);
  /// Takes pages back, once no work that reads them can be started any more.
  void give_back(std::int64_t list, std::span<const std::int64_t> pages);

  [[nodiscard]] const KvLayout& layout() const { return layout_; }
  [[nodiscard]] std::int64_t element_size() const { return element_size_; }

 private:
  struct Shelf {
    std::int64_t page_size = 0;  // numbers
    std::vector<std::int64_t> free;
    std::vector<at::Tensor> chunks;
    std::int64_t pages = 0;
  };

  [[nodiscard]] Shelf& shelf(std::int64_t list) { return shelves_[list == 0 ? 0 : 1]; }
  void grow(Shelf& shelf);

  const KvLayout layout_;
  at::TensorOptions options_;
  std::int64_t element_size_;
  std::mutex mutex_;
  Shelf shelves_[2];  // list 0's, and the others', whose pages are of one size
};

}  // namespace taesr
