#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <iterator>
#include <random>
#include <string>

#include "core/checksum.h"
#include "taesr/errors.h"

namespace taesr::testing {

/// One of the ways in which bytes go wrong.
inline void damage(std::string& bytes, std::mt19937& random) {
  if (bytes.empty()) {
    bytes = "x";
    return;
  }
  const std::size_t at = random() % bytes.size();
  const auto poke = [&](std::size_t position, std::uint32_t value) {
    for (std::size_t i = 0; i < 4 && position + i < bytes.size(); ++i) {
      bytes[position + i] = static_cast<char>(value >> 8 * i);
    }
  };
  switch (random() % 6) {
    case 0:
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8));
      break;
    case 1:
      bytes[at] = static_cast<char>(random());
      break;
    case 2: {
      constexpr std::uint32_t kExtremes[] = {0, 1, 0x7fffffff, 0x80000000, 0xffffffff, 0xffff, 0x10000};
      poke(at, kExtremes[random() % std::size(kExtremes)]);
      break;
    }
    case 3:
      poke(4 * (random() % 6), static_cast<std::uint32_t>(random()));  // a header field
      break;
    case 4:
      bytes.resize(at);
      break;
    default:
      bytes.insert(at, bytes.substr(random() % bytes.size(), random() % 16));
  }
}

/// `bytes` and their checksum, as the formats have it.
inline std::string with_checksum(std::string bytes) {
  const std::uint64_t checksum = xxh64(bytes);
  return bytes.append(reinterpret_cast<const char*>(&checksum), sizeof checksum);
}

/// Reads many changed copies of a file. Every second one is `repaired`, which damages a file and gives it the
/// right checksums again; the rest have a few changes anywhere and must be refused. `use` reads the
/// bytes, throws FormatError where it refuses them, and checks what it makes of the others.
///
/// There are `files` copies, or TAESR_MUTATED_FILES.
inline void read_mutated_files(const std::string& original, std::size_t files,
                               const std::function<std::string(std::mt19937&)>& repaired,
                               const std::function<void(const std::string&, std::mt19937&)>& use) {
  const char* wanted = std::getenv("TAESR_MUTATED_FILES");
  if (wanted != nullptr) files = static_cast<std::size_t>(std::max(1, std::atoi(wanted)));
  std::mt19937 random(29);
  std::size_t accepted = 0;
  std::size_t refused = 0;
  double slowest = 0;
  for (std::size_t i = 0; i < files; ++i) {
    const bool is_repaired = i % 2 == 1;
    std::string bytes = is_repaired ? repaired(random) : original;
    for (std::size_t n = 0; !is_repaired && n <= random() % 3; ++n) damage(bytes, random);
    const auto begin = std::chrono::steady_clock::now();
    try {
      use(bytes, random);
      EXPECT_TRUE(is_repaired || bytes == original) << "file " << i << " has a wrong checksum and was read";
      ++accepted;
    } catch (const FormatError&) {
      EXPECT_NE(bytes, original) << "file " << i << " is as it should be and was refused";
      ++refused;
    }
    slowest = std::max(slowest, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    if (::testing::Test::HasFailure()) {
      FAIL() << "at file " << i;
    }
  }
  EXPECT_GT(accepted, files / 100) << "too few got past the checks to say anything about what follows them";
  EXPECT_LT(slowest, 10.0) << "seconds for one file";
  std::printf("rounds: %zu files, %zu refused, %.3f s for the slowest\n", files, refused, slowest);
}

}  // namespace taesr::testing
