#include "engine/batching.h"

#include <algorithm>
#include <numeric>

namespace taesr {

std::size_t window_count(std::size_t length, std::size_t size) {
  if (length <= size) return 1;
  const std::size_t step = size - size / 5;
  return (length - size / 5 - 1) / step + 1;
}

std::vector<std::pair<std::size_t, std::size_t>> window_spans(std::size_t length, std::size_t size) {
  if (length <= size) return {{0, length}};
  const std::size_t count = window_count(length, size);
  std::vector<std::pair<std::size_t, std::size_t>> spans;
  for (std::size_t i = 0; i < count; ++i) {
    // Starts spread evenly from 0 to length - size: the last window is as long as the others.
    const std::size_t begin = i * (length - size) / (count - 1);
    spans.emplace_back(begin, begin + size);
  }
  return spans;
}

std::vector<std::vector<std::size_t>> plan_batches(std::span<const Window> windows, std::size_t budget) {
  std::vector<std::size_t> order(windows.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return windows[a].ids.size() > windows[b].ids.size(); });
  std::vector<std::vector<std::size_t>> batches;
  std::size_t tokens = budget;
  for (const std::size_t index : order) {
    const std::size_t length = windows[index].ids.size();
    if (batches.empty() || tokens + length > budget) {
      batches.emplace_back();
      tokens = 0;
    }
    batches.back().push_back(index);
    tokens += length;
  }
  return batches;
}

}  // namespace taesr
