#include "store/document_store.h"

#include <unistd.h>

#include "store/filter_sql.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

constexpr std::int64_t kUnusedPagesIgnored = 256;  // 1 MB of the usual pages of 4 KB

constexpr std::string_view kLastChunk = "SELECT seq FROM sqlite_sequence WHERE name = 'chunks'";

/// Keeps new chunks from getting ids that readers may still hold of chunks that are gone.
void raise_last_chunk(Database& database, std::int64_t last) {
  if (database.query_integer(kLastChunk) >= last) return;
  Transaction transaction(database, Transaction::Kind::kWrite);
  database.execute("DELETE FROM sqlite_sequence WHERE name = 'chunks'");
  database.prepare("INSERT INTO sqlite_sequence (name, seq) VALUES ('chunks', ?)").bind(1, last).run();
  transaction.commit();
}

void check_space(Database& database, const VectorSpace& space) {
  const VectorSpace stored = read_space(database);
  if (stored.fingerprint == space.fingerprint && stored.dimension == space.dimension) return;
  throw ModelMismatch(
      "the collection '" + database.path() + "' was made with model " + stored.fingerprint + " (" +
      std::to_string(stored.dimension) + " dimensions) and cannot be searched with model " +
      space.fingerprint + " (" + std::to_string(space.dimension) +
      " dimensions); open it with the original model, or ingest the documents into a new collection");
}

}  // namespace

Database open_to_read(const std::filesystem::path& file, Database::Mode& mode) {
  const auto open = [&] {
    Database database(file, mode);
    // The first read is where a directory without write permission shows.
    if (!is_blank(database)) return database;
    throw IoError("'" + file.string() +
                  "' is empty: its creation was interrupted or is still going on; open the "
                  "collection for writing once to complete it");
  };
  mode = Database::Mode::kReadOnly;
  try {
    return open();
  } catch (const IoError&) {
    // Write-ahead logging keeps a file of shared memory beside the database, which cannot be made
    // here. Then nobody is writing either, and the file can be read as it is.
    if (::access(file.parent_path().c_str(), W_OK) == 0) throw;
    mode = Database::Mode::kImmutable;
    return open();
  }
}

DocumentStore::DocumentStore(const std::filesystem::path& file, Access access, const VectorSpace& space)
    : space_(space) {
  if (access == Access::kReadWrite) {
    open_for_writing(file, space);
  } else {
    open_for_reading(file, space);
  }
  pool_ = std::make_unique<ConnectionPool>(file, read_mode_);
}

void DocumentStore::open_for_writing(const std::filesystem::path& file, const VectorSpace& space) {
  writer_.emplace(file, Database::Mode::kReadWrite);
  if (is_blank(*writer_)) {
    create_schema(*writer_, space);
    return;
  }
  check_schema(*writer_, OldSchema::kMigrate);
  // Without embeddings nothing ties the collection to the model that it was made with.
  if (writer_->query_integer("SELECT EXISTS (SELECT 1 FROM embedding)") == 0) {
    const bool other = read_space(*writer_).fingerprint != space.fingerprint;
    write_space(*writer_, space);
    if (other) forget_codecs(*writer_);
  }
  check_space(*writer_, space);
}

void DocumentStore::open_for_reading(const std::filesystem::path& file, const VectorSpace& space) {
  watch_.emplace(open_to_read(file, read_mode_));
  check_schema(*watch_);
  check_space(*watch_, space);
}

void DocumentStore::put(std::span<const PreparedDocument> documents) {
  Transaction transaction(*writer_, Transaction::Kind::kWrite);
  for (const PreparedDocument& prepared : documents) {
    static_cast<void>(erase(prepared.document->id));
    insert(prepared);
  }
  record_commit();
  transaction.commit();
}

std::size_t DocumentStore::remove(std::span<const std::string> ids) {
  Transaction transaction(*writer_, Transaction::Kind::kWrite);
  std::size_t removed = 0;
  for (const std::string& id : ids) removed += erase(id) ? 1 : 0;
  if (removed == 0) return 0;
  record_commit();
  transaction.commit();
  return removed;
}

std::size_t DocumentStore::remove_matching(const Collection::Filter& filter) {
  Transaction transaction(*writer_, Transaction::Kind::kWrite);
  Statement row = writer_->prepare("DELETE FROM documents WHERE " + filter_condition(filter, "number"));
  bind_filter(row, filter);
  row.run();
  const auto removed = static_cast<std::size_t>(writer_->query_integer("SELECT changes()"));
  if (removed == 0) return 0;
  record_commit();
  transaction.commit();
  return removed;
}

bool DocumentStore::update_metadata(const PreparedDocument& prepared) {
  Transaction transaction(*writer_, Transaction::Kind::kWrite);
  Statement row = writer_->prepare("SELECT number FROM documents WHERE id = ?");
  row.bind(1, prepared.document->id);
  if (!row.step()) return false;
  const std::int64_t number = row.integer(0);
  static_cast<void>(row.step());
  writer_->prepare("UPDATE documents SET metadata = ?, content_hash = ? WHERE number = ?")
      .bind(1, prepared.document->metadata)
      .bind(2, prepared.content_hash)
      .bind(3, number)
      .run();
  writer_->prepare("DELETE FROM properties WHERE document = ?").bind(1, number).run();
  insert_properties(prepared, number);
  record_commit();
  transaction.commit();
  return true;
}

void DocumentStore::replace_with(const std::filesystem::path& file) {
  Database source(file, Database::Mode::kImmutable);
  check_schema(source, OldSchema::kAccept);
  check_space(source, space_);
  embedding_row_.reset();
  const std::int64_t last_chunk = writer_->query_integer(kLastChunk);
  writer_->replace_with(source);
  check_schema(*writer_, OldSchema::kMigrate);
  raise_last_chunk(*writer_, last_chunk);
}

double DocumentStore::unused_share() {
  const std::int64_t unused = writer_->query_integer("PRAGMA freelist_count");
  if (unused < kUnusedPagesIgnored) return 0;
  return static_cast<double>(unused) / static_cast<double>(writer_->query_integer("PRAGMA page_count"));
}

void DocumentStore::vacuum() {
  embedding_row_.reset();
  writer_->vacuum();
}

bool DocumentStore::erase(const std::string& id) {
  writer_->prepare("DELETE FROM documents WHERE id = ?").bind(1, id).run();
  return writer_->query_integer("SELECT changes()") > 0;
}

void DocumentStore::insert(const PreparedDocument& prepared) {
  const Document& document = *prepared.document;
  writer_
      ->prepare(
          "INSERT INTO documents (id, title, text, source, metadata, content_hash) VALUES (?, ?, ?, ?, ?, ?)")
      .bind(1, document.id)
      .bind(2, document.title)
      .bind(3, document.text)
      .bind(4, document.source)
      .bind(5, document.metadata)
      .bind(6, prepared.content_hash)
      .run();
  const std::int64_t number = writer_->last_row_id();
  Statement section = writer_->prepare("INSERT INTO sections VALUES (?, ?, ?, ?, ?)");
  for (std::size_t i = 0; i < document.sections.size(); ++i) {
    const Section& row = document.sections[i];
    section.bind(1, number).bind(2, static_cast<std::int64_t>(i)).bind(3, row.path);
    section.bind(4, static_cast<std::int64_t>(row.begin)).bind(5, static_cast<std::int64_t>(row.end)).run();
  }
  insert_properties(prepared, number);
  insert_chunks(prepared, number);
}

void DocumentStore::insert_properties(const PreparedDocument& prepared, std::int64_t number) {
  Statement property = writer_->prepare("INSERT OR IGNORE INTO properties VALUES (?, ?, ?)");
  for (const auto& [key, value] : prepared.properties)
    property.bind(1, key).bind(2, value).bind(3, number).run();
}

void DocumentStore::insert_chunks(const PreparedDocument& prepared, std::int64_t number) {
  Statement chunk_row = writer_->prepare(
      "INSERT INTO chunks (document, section, text, begin_byte, end_byte, tokens) VALUES (?, ?, ?, ?, ?, ?)");
  for (std::size_t i = 0; i < prepared.chunks.size(); ++i) {
    const Chunk& chunk = prepared.chunks[i];
    chunk_row.bind(1, number).bind(2, chunk.section).bind(3, chunk.text);
    chunk_row.bind(4, static_cast<std::int64_t>(chunk.begin)).bind(5, static_cast<std::int64_t>(chunk.end));
    chunk_row.bind(6, static_cast<std::int64_t>(chunk.tokens)).run();
    const std::int64_t id = writer_->last_row_id();
    const int depth = prepared.depths.empty() ? 0 : prepared.depths[i];
    insert_embedding(id, {kDenseHead, kFloat32Codec, depth, std::as_bytes(prepared.vectors.row(i))});
    if (prepared.heads.empty()) continue;
    for (const HeadEmbedding& head : prepared.heads[i]) insert_embedding(id, head.view());
  }
}

void DocumentStore::record_commit() {
  writer_->execute("INSERT INTO commits SELECT max(generation) + 1, random() FROM commits");
}

std::int64_t DocumentStore::data_version() const {
  const std::lock_guard lock(watch_mutex_);
  return watch_ ? watch_->query_integer("PRAGMA data_version") : 0;
}

}  // namespace taesr
