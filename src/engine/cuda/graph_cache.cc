#include "engine/cuda/graph_cache.h"

#include <exception>
#include <list>
#include <map>
#include <optional>

#ifdef TAESR_CUDA
#include <ATen/cuda/CUDAGraph.h>
#endif

namespace taesr {

#ifdef TAESR_CUDA

struct GraphCache::Impl {
  explicit Impl(const Limits& limits) : limits(limits) {}

  struct Entry {
    std::unique_ptr<at::cuda::CUDAGraph> graph;  // null: not yet
    std::list<Key>::iterator use;
    int uses = 0;
  };

  Entry& touch(const Key& key) {
    const auto found = entries.find(key);
    if (found != entries.end()) {
      uses.splice(uses.begin(), uses, found->second.use);
      return found->second;
    }
    if (entries.size() == limits.graphs) {
      entries.erase(uses.back());
      uses.pop_back();
    }
    uses.push_front(key);
    return entries[key] = {nullptr, uses.begin(), 0};
  }

  /// Only this thread's calls are part of it, and only they are held to its rules.
  std::unique_ptr<at::cuda::CUDAGraph> record(const std::function<void()>& work) {
    auto graph = std::make_unique<at::cuda::CUDAGraph>();
    graph->capture_begin(pool, cudaStreamCaptureModeThreadLocal);
    try {
      work();
    } catch (...) {
      // The end of a recording that a call has spoiled is an error itself, and says less than the first.
      try {
        graph->capture_end();
      } catch (const std::exception&) {
      }
      throw;
    }
    graph->capture_end();
    return graph;
  }

  // One pool of memory: graphs run one after the other, and hand on nothing in it.
  at::cuda::MempoolId_t pool = at::cuda::graph_pool_handle();
  std::map<Key, Entry> entries;
  std::list<Key> uses;  // the last one first
  std::size_t replays = 0;
  Limits limits;
};

GraphCache::GraphCache(at::Device device, const Limits& limits)
    : impl_(device.is_cuda() ? std::make_unique<Impl>(limits) : nullptr) {}

void GraphCache::run(const Key& key, const std::function<void()>& work) {
  if (!impl_) return work();
  Impl::Entry& entry = impl_->touch(key);
  if (entry.uses++ < impl_->limits.uses) return work();
  if (!entry.graph) entry.graph = impl_->record(work);
  entry.graph->replay();
  ++impl_->replays;
}

std::size_t GraphCache::replays() const { return impl_ ? impl_->replays : 0; }

#else

struct GraphCache::Impl {};

GraphCache::GraphCache(at::Device, const Limits&) {}
void GraphCache::run(const Key&, const std::function<void()>& work) { work(); }
std::size_t GraphCache::replays() const { return 0; }

#endif

GraphCache::~GraphCache() = default;

}  // namespace taesr
