#pragma once

#include <cstddef>
#include <string>

#include "store/database.h"

namespace taesr {

/// The vector space that a collection's embeddings live in.
struct VectorSpace {
  std::string fingerprint;
  std::size_t dimension = 0;
};

/// True for a file without any content yet, such as one whose creation was interrupted.
[[nodiscard]] bool is_blank(Database& database);

/// Makes the tables of an empty collection, in one transaction, and switches to write-ahead logging.
void create_schema(Database& database, const VectorSpace& space);

/// What is done with a collection of an earlier schema version.
enum class OldSchema { kRefuse, kMigrate, kAccept };

/// The first half of check_schema, which takes no time: whose database it is and of which version. True for
/// an earlier version.
bool check_version(Database& database, OldSchema old);

/// Throws FormatError for a database that is not a collection or whose pages are damaged, and
/// VersionError for a collection of a later schema version, or of an earlier one where that is refused.
/// Migration is one transaction and keeps all rows.
void check_schema(Database& database, OldSchema old = OldSchema::kRefuse);

[[nodiscard]] VectorSpace read_space(Database& database);
void write_space(Database& database, const VectorSpace& space);

}  // namespace taesr
