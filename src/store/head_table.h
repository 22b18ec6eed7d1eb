#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "store/database.h"

namespace taesr {

/// A further head that a collection keeps for every chunk.
struct StoredHead {
  std::string name;
  std::string codec;                  // name and version of the encoding; empty until it is fitted
  bool ready = true;                  // false while the head is being added to chunks that were there before
  std::vector<std::byte> parameters;  // of the codec; empty for those without
};

/// Heads by name.
[[nodiscard]] std::vector<StoredHead> read_heads(Database& database);
void write_head(Database& database, const StoredHead& head);

/// Heads keep their place without their codecs, which were fitted to another model's embeddings.
void forget_codecs(Database& database);

}  // namespace taesr
