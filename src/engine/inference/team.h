#pragma once

#include <atomic>
#include <cstdint>

#include <ATen/Parallel.h>

namespace taesr {

/// Who works through a list of jobs: the calling thread, or all threads of ATen's pool.
struct Team {
  int threads = 1;

  [[nodiscard]] static Team of_pool() { return {at::in_parallel_region() ? 1 : at::get_num_threads()}; }

  /// job(i) for i from 0 to count - 1, in any order; each thread takes the next one when it is done.
  template <class Job>
  void for_each(std::int64_t count, const Job& job) const {
    if (threads == 1 || count <= 1) {
      for (std::int64_t i = 0; i < count; ++i) job(i);
      return;
    }
    std::atomic<std::int64_t> next = 0;
    at::parallel_for(0, threads, 1, [&](std::int64_t, std::int64_t) {
      for (std::int64_t i = next++; i < count; i = next++) job(i);
    });
  }
};

}  // namespace taesr
