#pragma once

#include <cstddef>
#include <memory>

namespace taesr {

/// Memory of one thread that passes reuse: it grows to what the largest pass of the thread needed and stays.
class Workspace {
 public:
  /// What lives at the same time lies in different parts.
  enum Part { kStates, kScratch, kParts };

  /// Of the calling thread.
  [[nodiscard]] static Workspace& of_thread();

  /// At least `bytes`, aligned to 64; what an earlier call for this part gave is no longer valid.
  [[nodiscard]] void* reserve(Part part, std::size_t bytes);

 private:
  struct Free {
    void operator()(void* memory) const;
  };
  std::unique_ptr<void, Free> memory_[kParts];
  std::size_t bytes_[kParts] = {};
};

/// Cuts one reservation into arrays.
class Carver {
 public:
  explicit Carver(void* memory) : next_(static_cast<char*>(memory)) {}

  template <class T>
  [[nodiscard]] T* take(std::size_t count) {
    T* const taken = reinterpret_cast<T*>(next_);
    next_ += bytes<T>(count);
    return taken;
  }
  /// What `take` uses up.
  template <class T>
  [[nodiscard]] static std::size_t bytes(std::size_t count) {
    return (count * sizeof(T) + 63) / 64 * 64;
  }

 private:
  char* next_;
};

}  // namespace taesr
