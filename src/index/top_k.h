#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "taesr/collection.h"

namespace taesr {

/// Best first: higher score, then the smaller chunk id, so that equal scores have one order.
[[nodiscard]] inline bool ranks_before(const Candidate& a, const Candidate& b) {
  return a.score != b.score ? a.score > b.score : a.chunk < b.chunk;
}

/// Keeps the k best of the candidates offered.
class TopK {
 public:
  explicit TopK(std::size_t k) : k_(k) {}

  void offer(const Candidate& candidate) {
    if (heap_.size() < k_) {
      heap_.push_back(candidate);
      std::push_heap(heap_.begin(), heap_.end(), ranks_before);
    } else if (k_ > 0 && ranks_before(candidate, heap_.front())) {
      std::pop_heap(heap_.begin(), heap_.end(), ranks_before);
      heap_.back() = candidate;
      std::push_heap(heap_.begin(), heap_.end(), ranks_before);
    }
  }

  /// Whether k are kept, so that a candidate must come before `worst` to be one of them.
  [[nodiscard]] bool full() const { return heap_.size() == k_; }
  /// The last of those kept, of which there must be one.
  [[nodiscard]] const Candidate& worst() const { return heap_.front(); }

  /// The candidates kept, best first.
  [[nodiscard]] std::vector<Candidate> take() {
    std::sort_heap(heap_.begin(), heap_.end(), ranks_before);
    return std::move(heap_);
  }

 private:
  std::size_t k_;
  std::vector<Candidate> heap_;  // the worst kept is at the front
};

}  // namespace taesr
