#pragma once

#include <cstdint>

namespace taesr {

/// A state of a collection's rows. Generations count commits; the token, drawn at random with each
/// commit, tells apart two histories that reached the same generation (a restored backup, say).
struct Revision {
  std::int64_t generation = 0;
  std::int64_t token = 0;

  friend bool operator==(const Revision&, const Revision&) = default;
};

}  // namespace taesr
