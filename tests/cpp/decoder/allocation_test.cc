// Decoding token by token takes no memory from the heap, except for lists that grow now and then.

#include <atomic>
#include <cstdlib>
#include <new>

#include <gtest/gtest.h>

#include "decoder/host_pass.h"
#include "support/random_decoder.h"
#include "support/temporary_directory.h"

namespace {

std::atomic<std::size_t> allocations = 0;

void* allocate(std::size_t size, std::size_t alignment) {
  ++allocations;
  const std::size_t whole = (size + alignment - 1) / alignment * alignment;
  void* const memory = std::aligned_alloc(alignment, whole == 0 ? alignment : whole);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

// The whole program's, so that calls from anywhere count.
void* operator new(std::size_t size) { return allocate(size, alignof(std::max_align_t)); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return allocate(size, static_cast<std::size_t>(alignment));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }

namespace taesr {
namespace {

TEST(ForwardPass, DecodingTakesNextToNoMemoryFromTheHeap) {
  for (const Routing routing : {Routing::kNone, Routing::kExpertChoice}) {
    DecoderConfig config = testing::small_decoder(LayerSharing::kCycle, 6, 2);
    config.routing = routing;
    config.gate = Gate::kPreserving;
    const testing::TemporaryDirectory folder;
    testing::save(testing::random_decoder_weights(config), folder / "m.safetensors");
    const DecoderWeights weights =
        load_decoder_weights(config, WeightPrecision::kStored, folder / "m.safetensors");
    HostPass pass(config, weights);
    HostKvCache cache(config, KvCaching::kFull);
    const auto decode = [&](int count) {
      for (int i = 0; i < count; ++i) {
        const int token = i % 40;
        (void)pass.run({&token, 1}, cache, LogitsOf::kLastToken);
      }
    };
    decode(33);  // room for 64 positions in every list
    const std::size_t before = allocations;
    decode(30);
    // 30 tokens in 6 layers, each of which takes one or two pages; a list may grow once.
    EXPECT_LE(allocations - before, 18u) << name_of(routing);
    EXPECT_GT(before, 100u);
  }
}

}  // namespace
}  // namespace taesr
