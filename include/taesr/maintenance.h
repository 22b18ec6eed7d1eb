#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "taesr/export.h"

namespace taesr {

// What is done with collections as a whole. Nothing here needs the model that a collection was made
// with. Functions that change a collection take the writer's lock: they fail at once, with an IoError
// that names the holder, while it is open for writing. The others may run beside a writer.

/// A collection without its content.
struct CollectionInfo {
  std::filesystem::path directory;
  std::string fingerprint;    // of the model that made the embeddings
  std::size_t dimension = 0;  // of the dense vectors
  std::size_t documents = 0;
  std::size_t chunks = 0;
  std::int64_t generation = 0;  // commits since it was made
  std::uint64_t bytes = 0;      // of its files, snapshots not counted
  std::string problem;          // why it cannot be opened; then the counts are 0
};

/// A copy of all rows at one time, inside the collection's directory.
struct Snapshot {
  std::string name;               // time in UTC, generation and checksum
  std::int64_t milliseconds = 0;  // when it was made, since 1970-01-01 00:00 UTC
  std::int64_t generation = 0;    // of the rows
  std::uint64_t bytes = 0;
};

/// What a compaction gained.
struct CompactReport {
  std::uint64_t bytes_before = 0;  // of the database with its log and of the index files
  std::uint64_t bytes_after = 0;
};

/// What a check found. `problems` are damage; `notes` are what the next opening repairs by itself.
struct CheckReport {
  std::size_t documents = 0;
  std::size_t chunks = 0;
  std::vector<std::string> problems;
  std::vector<std::string> notes;
};

/// What was exported or imported.
struct TransferReport {
  std::size_t documents = 0;
  std::size_t chunks = 0;
};

/// Called with (documents done, documents in all); may throw, which undoes the whole call.
using TransferProgress = std::function<void(std::size_t, std::size_t)>;

/// Throws IoError when there is no collection; what is wrong with one that is there is its `problem`.
[[nodiscard]] TAESR_API CollectionInfo describe_collection(const std::filesystem::path& directory);

/// `root` itself, where it is a collection, and its direct subfolders that are; by name.
[[nodiscard]] TAESR_API std::vector<CollectionInfo> list_collections(const std::filesystem::path& root);

/// Copies a collection to a directory that is absent or empty. The copy appears when it is complete.
TAESR_API void copy_collection(const std::filesystem::path& from, const std::filesystem::path& to);

/// Writes a collection to a folder, absent or empty, in formats that other programs read:
/// documents.jsonl and chunks.jsonl, one object a line; dense.npy, float32 [chunks, dimension], row i for
/// line i of chunks.jsonl; for every other head HEAD.npy, its bytes end to end, and HEAD_offsets.npy,
/// int64 [chunks + 1]; and manifest.json with the counts, the model and the files' sizes and XXH64.
TAESR_API TransferReport export_collection(const std::filesystem::path& directory,
                                           const std::filesystem::path& folder,
                                           const TransferProgress& progress = {});

/// Makes a collection, in a directory that is absent or empty, of what export_collection wrote. Throws
/// ChecksumError for files that were changed and FormatError that names the file and line.
TAESR_API TransferReport import_collection(const std::filesystem::path& folder,
                                           const std::filesystem::path& directory,
                                           const TransferProgress& progress = {});

/// Makes a snapshot, beside a writer or not, then removes the oldest beyond `keep`; 0 keeps all.
TAESR_API Snapshot create_snapshot(const std::filesystem::path& directory, std::size_t keep = 0);

/// Oldest first.
[[nodiscard]] TAESR_API std::vector<Snapshot> list_snapshots(const std::filesystem::path& directory);

/// Puts the snapshot of that name, or of the only one that begins so, or the "latest", in place of what
/// the collection holds, in one transaction, which readers follow. What it held before is made a snapshot
/// first; where it was too damaged for that, its file stays beside it as "collection.sqlite.damaged".
/// Returns the snapshot that was restored.
TAESR_API Snapshot restore_snapshot(const std::filesystem::path& directory, const std::string& name);

/// Gives back the space of what was deleted and makes the indexes anew.
TAESR_API CompactReport compact_collection(const std::filesystem::path& directory);

/// Reads everything and compares it: the database's pages and references, documents with their chunks,
/// embeddings, index files and snapshots.
[[nodiscard]] TAESR_API CheckReport check_collection(const std::filesystem::path& directory);

/// Removes documents by id; unknown ones are ignored. Returns how many there were.
TAESR_API std::size_t remove_documents(const std::filesystem::path& directory,
                                       std::span<const std::string> ids);

/// The same by metadata, as Collection::Filter says. Throws InvalidArgument for an empty filter, which
/// would remove all.
TAESR_API std::size_t remove_documents_matching(const std::filesystem::path& directory,
                                                const std::map<std::string, std::string>& filter);

}  // namespace taesr
