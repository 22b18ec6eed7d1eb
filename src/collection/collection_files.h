#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <utility>

#include "collection/derived_indexes.h"
#include "store/document_store.h"
#include "store/writer_lock.h"
#include "taesr/maintenance.h"

namespace taesr {

inline constexpr const char* kDatabaseFile = "collection.sqlite";
inline constexpr const char* kLockFile = "collection.lock";

/// Throws IoError where there is no collection.
void require_collection(const std::filesystem::path& directory);

/// The vector space of the embeddings that a collection's file holds.
[[nodiscard]] VectorSpace stored_space(const std::filesystem::path& database);

/// A collection that is changed without its model.
struct WritableFiles {
  explicit WritableFiles(const std::filesystem::path& directory)
      : WritableFiles(directory, std::make_unique<WriterLock>(directory / kLockFile)) {}
  WritableFiles(const std::filesystem::path& directory, std::unique_ptr<WriterLock> held)
      : lock(std::move(held)),
        space(stored_space(directory / kDatabaseFile)),
        store(directory / kDatabaseFile, DocumentStore::Access::kReadWrite, space),
        indexes(directory, space) {}

  std::unique_ptr<WriterLock> lock;
  VectorSpace space;
  DocumentStore store;
  DerivedIndexes indexes;
};

/// Compacts the database and makes the index files anew.
CompactReport compact_files(const std::filesystem::path& directory, DocumentStore& store,
                            DerivedIndexes& indexes);

/// Bytes of the collection's own files, without snapshots.
[[nodiscard]] std::uint64_t bytes_of_files(const std::filesystem::path& directory);

/// A folder that appears under its name when it is complete, and not at all when it never is.
class PendingFolder {
 public:
  /// Throws IoError when there is something under that name other than an empty folder.
  explicit PendingFolder(const std::filesystem::path& target);
  ~PendingFolder();
  PendingFolder(const PendingFolder&) = delete;
  PendingFolder& operator=(const PendingFolder&) = delete;

  /// Where to write meanwhile.
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  void publish();

 private:
  std::filesystem::path target_;
  std::filesystem::path path_;
};

}  // namespace taesr
