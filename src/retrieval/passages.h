#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "taesr/collection.h"

namespace taesr {

/// Neighbouring chunks of one section, joined.
struct JoinedPassage {
  StoredChunk chunk;                  // of the hit, with the text and the offsets of all that was joined
  std::vector<std::int64_t> members;  // ids of the chunks in it, ascending
};

/// The first k passages of `hits`, best first: each hit joined with up to `neighbours` chunks before and
/// behind it in the same section of its document. A hit whose passage would overlap or touch an earlier
/// one's makes that longer instead, so no byte comes twice.
[[nodiscard]] std::vector<JoinedPassage> join_neighbours(const Collection& collection,
                                                         std::span<const std::int64_t> hits,
                                                         std::size_t neighbours, std::size_t k);

}  // namespace taesr
