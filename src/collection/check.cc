#include <string_view>

#include "collection/collection_files.h"
#include "collection/document_rules.h"
#include "store/row_snapshot.h"
#include "store/snapshot_files.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostProblems = 20;  // a badly damaged file has thousands, which say no more

/// Collects what is wrong, one sentence each, up to a number that people read.
class Problems {
 public:
  explicit Problems(std::vector<std::string>& list) : list_(list) {}
  void add(std::string problem) {
    if (list_.size() < kMostProblems)
      list_.push_back(std::move(problem));
    else if (list_.size() == kMostProblems)
      list_.emplace_back("further problems are not listed");
  }
  [[nodiscard]] bool empty() const { return list_.empty(); }

 private:
  std::vector<std::string>& list_;
};

void check_pages(Database& database, Problems& problems) {
  Statement integrity = database.prepare("PRAGMA integrity_check(" + std::to_string(kMostProblems) + ")");
  while (integrity.step()) {
    if (integrity.text(0) != "ok") problems.add("database: " + integrity.text(0));
  }
  Statement references = database.prepare("PRAGMA foreign_key_check");
  while (references.step()) {
    problems.add("database: row " + references.text(1) + " of " + references.text(0) +
                 " belongs to a row of " + references.text(2) + " that is not there");
  }
}

void check_chunk(const Document& document, std::int64_t id, const Chunk& chunk, Problems& problems) {
  const bool inside = chunk.begin <= chunk.end && chunk.end <= document.text.size();
  const auto text = std::string_view(document.text);
  if (inside && text.substr(chunk.begin, chunk.end - chunk.begin) == chunk.text) return;
  problems.add("document '" + document.id + "': chunk " + std::to_string(id) + " is not its bytes " +
               std::to_string(chunk.begin) + " to " + std::to_string(chunk.end));
}

void check_rows(const RowSnapshot& rows, const VectorSpace& space, CheckReport& report, Problems& problems) {
  rows.for_each_document([&](std::int64_t number, const Document& document) {
    ++report.documents;
    try {
      check_documents(std::span(&document, 1));
    } catch (const InvalidArgument& error) {
      problems.add(error.what());
    }
    for (const auto& [id, chunk] : rows.chunks_of(number)) {
      ++report.chunks;
      check_chunk(document, id, chunk, problems);
    }
  });
  std::size_t vectors = 0;
  try {
    rows.for_each_vector(0, space, [&](std::int64_t, std::span<const float>) { ++vectors; });
  } catch (const FormatError& error) {
    problems.add(error.what());
    return;
  }
  if (vectors != report.chunks) {
    problems.add(std::to_string(report.chunks) + " chunks have " + std::to_string(vectors) +
                 " embeddings of the collection's model");
  }
  try {
    // All that a head's index is made of is read and compared with the chunks.
    HeadIndexes().follow(rows, rows.chunk_ids(), space.fingerprint);
  } catch (const FormatError& error) {
    problems.add(error.what());
  }
}

void check_snapshots(const fs::path& directory, Problems& problems) {
  const SnapshotFiles files(directory);
  for (const Snapshot& snapshot : files.list()) {
    try {
      static_cast<void>(files.verified_file(snapshot));
    } catch (const Error& error) {
      problems.add(error.what());
    }
  }
}

}  // namespace

CheckReport check_collection(const fs::path& directory) {
  require_collection(directory);
  CheckReport report;
  Problems problems(report.problems);
  try {
    const fs::path file = directory / kDatabaseFile;
    Database::Mode mode{};
    Database database = open_to_read(file, mode);
    const bool outdated = check_version(database, OldSchema::kAccept);
    check_pages(database, problems);
    if (outdated)
      report.notes.emplace_back("an earlier schema version: open it once for writing to update it");
    if (!outdated && problems.empty()) {
      const VectorSpace space = read_space(database);
      const DocumentStore store(file, DocumentStore::Access::kReadOnly, space);
      check_rows(RowSnapshot(store), space, report, problems);
      if (problems.empty()) report.notes = DerivedIndexes(directory, space).open(store);
    }
  } catch (const FormatError& error) {
    problems.add(error.what());
  }
  check_snapshots(directory, problems);
  return report;
}

}  // namespace taesr
