#include "engine/inference/workspace.h"

#include <cstdlib>
#include <new>

namespace taesr {

Workspace& Workspace::of_thread() {
  thread_local Workspace workspace;
  return workspace;
}

void Workspace::Free::operator()(void* memory) const { std::free(memory); }

void* Workspace::reserve(Part part, std::size_t bytes) {
  if (bytes_[part] >= bytes) return memory_[part].get();
  memory_[part].reset();
  bytes_[part] = 0;
  const std::size_t rounded = (bytes + 4095) / 4096 * 4096;
  memory_[part].reset(std::aligned_alloc(4096, rounded));
  if (!memory_[part]) throw std::bad_alloc();
  bytes_[part] = rounded;
  return memory_[part].get();
}

}  // namespace taesr
