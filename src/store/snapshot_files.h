#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include "store/database.h"
#include "taesr/maintenance.h"

namespace taesr {

/// The copies of a collection's database that lie in the folder `snapshots` beside it.
///
/// A snapshot is one file, complete or absent: "20261122T082512.345Z-r42-9f86d081884c7d65.sqlite" is the
/// time in UTC, the rows' generation and the XXH64 of the file's bytes, so that damage is noticed.
/// Files may be made and listed beside a writer, by any process.
class SnapshotFiles {
 public:
  explicit SnapshotFiles(const std::filesystem::path& collection) : folder_(collection / "snapshots") {}

  /// Copies what `database` holds now, then removes the oldest beyond `keep`; 0 keeps all.
  Snapshot create(Database& database, std::size_t keep) const;

  /// Oldest first. Files with other names are not listed.
  [[nodiscard]] std::vector<Snapshot> list() const;

  /// The snapshot of that name, or of the only one that begins so; "latest" is the newest. Throws
  /// InvalidArgument that lists what there is.
  [[nodiscard]] Snapshot find(const std::string& name) const;

  /// The file, after a check of its bytes. Throws ChecksumError.
  [[nodiscard]] std::filesystem::path verified_file(const Snapshot& snapshot) const;

 private:
  [[nodiscard]] std::filesystem::path file_of(const std::string& name) const;
  void sweep_unfinished() const;

  std::filesystem::path folder_;
};

}  // namespace taesr
