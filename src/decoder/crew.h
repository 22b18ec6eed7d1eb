#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include <ATen/Parallel.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace taesr {

/// Threads of ATen's pool that run one program together, stage after stage.
///
/// One token passes hundreds of stages of a few microseconds each: a parallel loop of the pool for each of
/// them would cost as much as the work. A stage ends when its work is done, not when all threads have come,
/// so that none waits for one that the system has put aside before it took work, and a pool of fewer threads
/// than expected is no harm.
class Crew {
 public:
  class Member;

  /// For programs of at most `stages` stages.
  explicit Crew(std::size_t stages) : stages_(stages) {}

  /// Calls program(member) on every thread. All of them must come to the same stages. What the work of a
  /// stage throws is thrown here, once; later stages are then left out.
  template <class Program>
  void run(const Program& program);

 private:
  struct alignas(64) Stage {
    std::atomic<std::int64_t> taken = 0;
    std::atomic<std::int64_t> done = 0;
  };

  void note_failure() {
    const std::lock_guard lock(mutex_);
    if (!failed_) failure_ = std::current_exception();
    failed_ = true;
  }

  std::vector<Stage> stages_;
  int threads_ = 1;
  std::atomic<bool> failed_ = false;
  std::mutex mutex_;
  std::exception_ptr failure_;
};

/// A thread's view of the crew.
class Crew::Member {
 public:
  explicit Member(Crew& crew) : crew_(crew) {}

  /// A stage: job(begin, end) for parts of 0 to `count`, of at least `least` but the last, each by one
  /// thread. Returns when all of it is done, by whomever.
  template <class Job>
  void each(std::int64_t count, std::int64_t least, const Job& job) {
    Stage& stage = crew_.stages_.at(stage_++);
    std::int64_t begin = stage.taken.load(std::memory_order_relaxed);
    while (begin < count) {
      // Large parts first: small ones at the end even out threads of unequal speed.
      const std::int64_t part = std::max(least, (count - begin) / (2 * crew_.threads_));
      const std::int64_t end = crew_.threads_ == 1 ? count : std::min(count, begin + part);
      if (!stage.taken.compare_exchange_weak(begin, end, std::memory_order_relaxed)) continue;
      work(job, begin, end);
      stage.done.fetch_add(end - begin, std::memory_order_release);
      begin = stage.taken.load(std::memory_order_relaxed);
    }
    await(stage, count);
  }

  /// A stage of one part.
  template <class Job>
  void once(const Job& job) {
    each(1, 1, [&](std::int64_t, std::int64_t) { job(); });
  }

 private:
  template <class Job>
  void work(const Job& job, std::int64_t begin, std::int64_t end) {
    if (crew_.failed_.load(std::memory_order_relaxed)) return;
    try {
      job(begin, end);
    } catch (...) {
      crew_.note_failure();
    }
  }

  static void await(const Stage& stage, std::int64_t count) {
    constexpr int kSpins =
        4000;  // some tens of microseconds; then the thread that works may need this processor
    for (int spin = 0; stage.done.load(std::memory_order_acquire) < count; ++spin) {
      if (spin >= kSpins) std::this_thread::yield();
#if defined(__x86_64__)
      _mm_pause();
#endif
    }
  }

  Crew& crew_;
  std::size_t stage_ = 0;
};

template <class Program>
void Crew::run(const Program& program) {
  // Threads without a processor of their own would take it from those that work.
  const int processors = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  threads_ = at::in_parallel_region() ? 1 : std::min(at::get_num_threads(), processors);
  failed_ = false;
  failure_ = nullptr;
  for (Stage& stage : stages_) {
    stage.taken.store(0, std::memory_order_relaxed);
    stage.done.store(0, std::memory_order_relaxed);
  }
  const auto join = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      Member member(*this);
      program(member);
    }
  };
  if (threads_ == 1) {
    join(0, 1);
  } else {
    at::parallel_for(0, threads_, 1, join);
  }
  if (failure_) std::rethrow_exception(failure_);
}

}  // namespace taesr
