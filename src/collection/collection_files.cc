#include "collection/collection_files.h"

#include <unistd.h>

#include <system_error>

#include "collection/late_codec.h"
#include "store/durable_file.h"
#include "taesr/errors.h"

namespace taesr {

namespace fs = std::filesystem;

void require_collection(const fs::path& directory) {
  std::error_code error;
  if (fs::exists(directory / kDatabaseFile, error)) return;
  throw IoError("no collection in '" + directory.string() + "'" +
                (error ? " (" + error.message() + ")" : "") + "; check the path");
}

VectorSpace stored_space(const fs::path& database) {
  Database::Mode mode{};
  Database reader = open_to_read(database, mode);
  check_version(reader, OldSchema::kAccept);
  return read_space(reader);
}

CompactReport compact_files(const fs::path& directory, DocumentStore& store, DerivedIndexes& indexes) {
  CompactReport report;
  report.bytes_before = bytes_of_files(directory);
  refit_late_codec(store);
  store.vacuum();
  indexes.rebuild(store);
  indexes.save();
  report.bytes_after = bytes_of_files(directory);
  return report;
}

std::uint64_t bytes_of_files(const fs::path& directory) {
  std::uint64_t bytes = 0;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory, error)) {
    std::error_code gone;
    if (!entry.is_regular_file(gone)) continue;
    const std::uint64_t size = entry.file_size(gone);
    if (!gone) bytes += size;
  }
  return bytes;
}

PendingFolder::PendingFolder(const fs::path& target)
    : target_(fs::absolute(target / "").lexically_normal().parent_path()) {
  std::error_code error;
  if (fs::exists(target_, error) && !fs::is_empty(target_, error)) {
    throw IoError("'" + target_.string() +
                  "' exists already and is not an empty folder; choose another name");
  }
  if (fs::is_regular_file(target_, error))
    throw IoError("'" + target_.string() + "' is a file, not a folder");
  path_ = target_.parent_path() /
          ("." + target_.filename().string() + ".unfinished-" + std::to_string(::getpid()));
  fs::remove_all(path_, error);  // of a killed process with the same number
  if (!fs::create_directories(path_, error))
    throw IoError("cannot create the folder '" + path_.string() + "': " + error.message());
}

PendingFolder::~PendingFolder() {
  std::error_code ignored;
  if (!path_.empty()) fs::remove_all(path_, ignored);
}

void PendingFolder::publish() {
  rename_durably(path_, target_);
  path_.clear();
}

}  // namespace taesr
