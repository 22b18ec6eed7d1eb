#include "core/checksum.h"

#include <gtest/gtest.h>

#include <string>

namespace taesr {
namespace {

TEST(Checksum, AgreesWithPublishedValuesOfXxh64) {
  EXPECT_EQ(xxh64(""), 0xef46db3751d8e999u);
  EXPECT_EQ(xxh64("a"), 0xd24ec4f1a98c6e5bu);
  EXPECT_EQ(xxh64("abc"), 0x44bc2cf5ad770999u);
  EXPECT_EQ(xxh64("Nobody inspects the spammish repetition"), 0xfbcea83c8a378bf1u);
}

/// The specification's sanity buffer: bytes of a multiplicative generator.
std::string sanity_buffer(std::size_t size) {
  std::string buffer;
  std::uint64_t generator = 2654435761u;
  for (std::size_t i = 0; i < size; ++i) {
    buffer += static_cast<char>(generator >> 56);
    generator *= 11400714785074694797u;
  }
  return buffer;
}

TEST(Checksum, AgreesWithTheReferenceImplementationsSanityTests) {
  constexpr std::uint64_t kSeed = 2654435761u;
  EXPECT_EQ(xxh64(sanity_buffer(1)), 0xe934a84adb052768u);
  EXPECT_EQ(xxh64(sanity_buffer(1), kSeed), 0x5014607643a9b4c3u);
  EXPECT_EQ(xxh64(sanity_buffer(4)), 0x9136a0dca57457eeu);
  EXPECT_EQ(xxh64(sanity_buffer(14)), 0x8282dcc4994e35c8u);
  EXPECT_EQ(xxh64(sanity_buffer(14), kSeed), 0xc3bd6bf63deb6df0u);
  EXPECT_EQ(xxh64(sanity_buffer(222)), 0xb641ae8cb691c174u);
  EXPECT_EQ(xxh64(sanity_buffer(222), kSeed), 0x20cb8ab7ae10c14au);
}

TEST(Checksum, ChangesWithEveryBit) {
  const std::string original = sanity_buffer(77);
  for (std::size_t bit = 0; bit < original.size() * 8; ++bit) {
    std::string changed = original;
    changed[bit / 8] = static_cast<char>(changed[bit / 8] ^ (1 << bit % 8));
    EXPECT_NE(xxh64(changed), xxh64(original)) << "bit " << bit;
  }
}

}  // namespace
}  // namespace taesr
