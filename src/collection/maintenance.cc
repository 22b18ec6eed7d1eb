#include "taesr/maintenance.h"

#include <algorithm>
#include <system_error>

#include "collection/collection_files.h"
#include "collection/document_rules.h"
#include "store/durable_file.h"
#include "store/snapshot_files.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

namespace fs = std::filesystem;

/// Copies are made in the older kind of journal; collections use write-ahead logging.
void make_collection_of(const fs::path& copy) {
  Database(copy, Database::Mode::kReadWrite).execute("PRAGMA journal_mode = WAL");
  flush_file(copy);
}

/// Puts a snapshot in place of a file that SQLite cannot read any more, or that is not there.
void replace_unreadable(const fs::path& directory, const fs::path& snapshot) {
  const fs::path database = directory / kDatabaseFile;
  const fs::path unfinished = database.string() + ".unfinished";
  const fs::path damaged = database.string() + ".damaged";
  std::error_code error;
  for (const char* end : {"", "-wal", "-shm"}) fs::remove(unfinished.string() + end, error);
  Database(snapshot, Database::Mode::kImmutable).copy_to(unfinished);
  make_collection_of(unfinished);
  // The old log must not be taken for the new file's. What is damaged keeps its name until the end, so
  // that an interruption leaves something that is refused, not nothing, which would be made anew.
  fs::remove(damaged, error);
  fs::create_hard_link(database, damaged, error);
  fs::rename(database.string() + "-wal", damaged.string() + "-wal", error);
  fs::remove(database.string() + "-wal", error);
  fs::remove(database.string() + "-shm", error);
  rename_durably(unfinished, database);
}

/// Whether a collection's file can be read from end to end.
bool is_readable(const fs::path& database) {
  std::error_code error;
  if (fs::file_size(database, error) == 0 || error) return false;  // its creation was interrupted
  try {
    Database::Mode mode{};
    Database reader = open_to_read(database, mode);
    check_schema(reader, OldSchema::kAccept);
    static_cast<void>(read_space(reader));
    return true;
  } catch (const FormatError&) {
    return false;
  }
}

template <typename Remove>
std::size_t remove_from(const fs::path& directory, const Remove& remove) {
  require_collection(directory);
  WritableFiles collection(directory);
  static_cast<void>(collection.indexes.open(collection.store));
  const std::size_t removed = remove(collection.store);
  collection.indexes.catch_up(collection.store);
  collection.indexes.save();
  return removed;
}

}  // namespace

CollectionInfo describe_collection(const fs::path& directory) {
  require_collection(directory);
  CollectionInfo info;
  info.directory = directory;
  info.bytes = bytes_of_files(directory);
  try {
    Database::Mode mode{};
    Database database = open_to_read(directory / kDatabaseFile, mode);
    const Transaction state(database, Transaction::Kind::kRead);
    check_version(database, OldSchema::kAccept);
    const VectorSpace space = read_space(database);
    info.fingerprint = space.fingerprint;
    info.dimension = space.dimension;
    info.generation = database.query_integer("SELECT max(generation) FROM commits");
    const auto documents = database.query_integer("SELECT count(*) FROM documents");
    info.chunks = static_cast<std::size_t>(database.query_integer("SELECT count(*) FROM chunks"));
    info.documents = static_cast<std::size_t>(documents);
  } catch (const Error& error) {
    info.problem = error.what();
  }
  return info;
}

std::vector<CollectionInfo> list_collections(const fs::path& root) {
  std::error_code error;
  if (!fs::is_directory(root, error)) throw IoError("'" + root.string() + "' is not a folder");
  std::vector<fs::path> directories = {root};
  for (const fs::directory_entry& entry : fs::directory_iterator(root, error)) {
    // Hidden ones are copies that are not finished.
    if (!entry.path().filename().string().starts_with('.')) directories.push_back(entry.path());
  }
  if (error) throw IoError("cannot read the folder '" + root.string() + "': " + error.message());
  std::sort(directories.begin() + 1, directories.end());
  std::vector<CollectionInfo> found;
  for (const fs::path& directory : directories) {
    if (fs::exists(directory / kDatabaseFile, error)) found.push_back(describe_collection(directory));
  }
  return found;
}

void copy_collection(const fs::path& from, const fs::path& to) {
  require_collection(from);
  PendingFolder folder(to);
  // Index files come first: those of an earlier state than the rows are brought up to date when they are
  // opened, and those that could not be copied are made anew.
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(from, error)) {
    std::error_code ignored;
    if (entry.path().extension() == ".idx")
      fs::copy_file(entry.path(), folder.path() / entry.path().filename(), ignored);
  }
  Database::Mode mode{};
  Database source = open_to_read(from / kDatabaseFile, mode);
  check_version(source, OldSchema::kAccept);
  source.copy_to(folder.path() / kDatabaseFile);
  make_collection_of(folder.path() / kDatabaseFile);
  folder.publish();
}

Snapshot create_snapshot(const fs::path& directory, std::size_t keep) {
  require_collection(directory);
  Database::Mode mode{};
  Database source = open_to_read(directory / kDatabaseFile, mode);
  check_schema(source, OldSchema::kAccept);
  return SnapshotFiles(directory).create(source, keep);
}

std::vector<Snapshot> list_snapshots(const fs::path& directory) {
  std::error_code error;
  if (!fs::is_directory(directory, error)) throw IoError("'" + directory.string() + "' is not a folder");
  return SnapshotFiles(directory).list();
}

Snapshot restore_snapshot(const fs::path& directory, const std::string& name) {
  std::error_code error;
  if (!fs::is_directory(directory, error)) throw IoError("'" + directory.string() + "' is not a folder");
  const SnapshotFiles files(directory);
  const Snapshot snapshot = files.find(name);
  const fs::path source = files.verified_file(snapshot);
  const fs::path database = directory / kDatabaseFile;
  auto lock = std::make_unique<WriterLock>(directory / kLockFile);
  const bool readable = is_readable(database);
  if (!readable) replace_unreadable(directory, source);
  WritableFiles collection(directory, std::move(lock));
  if (readable) {
    static_cast<void>(files.create(*collection.store.connection(), 0));
    collection.store.replace_with(source);
  }
  collection.indexes.rebuild(collection.store);
  collection.indexes.save();
  return snapshot;
}

CompactReport compact_collection(const fs::path& directory) {
  require_collection(directory);
  WritableFiles collection(directory);
  return compact_files(directory, collection.store, collection.indexes);
}

std::size_t remove_documents(const fs::path& directory, std::span<const std::string> ids) {
  return remove_from(directory, [&](DocumentStore& store) { return store.remove(ids); });
}

std::size_t remove_documents_matching(const fs::path& directory,
                                      const std::map<std::string, std::string>& filter) {
  check_filter_for_removal(filter);
  return remove_from(directory, [&](DocumentStore& store) { return store.remove_matching(filter); });
}

}  // namespace taesr
