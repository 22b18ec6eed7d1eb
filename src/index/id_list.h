#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

namespace taesr {

/// Chunk ids, ascending, without repetition.
using IdList = std::vector<std::int64_t>;

/// Positions in `table` (ascending ids) of those of `ids` (ascending) that it holds.
[[nodiscard]] inline std::vector<std::uint32_t> positions_of(std::span<const std::int64_t> ids,
                                                             std::span<const std::int64_t> table) {
  std::vector<std::uint32_t> positions;
  auto from = table.begin();
  for (const std::int64_t id : ids) {
    from = std::lower_bound(from, table.end(), id);
    if (from == table.end()) break;
    if (*from == id) positions.push_back(static_cast<std::uint32_t>(from - table.begin()));
  }
  return positions;
}

}  // namespace taesr
