#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "store/connection_pool.h"
#include "store/database.h"
#include "store/embedding.h"
#include "store/head_table.h"
#include "store/revision.h"
#include "store/schema.h"
#include "taesr/collection.h"
#include "taesr/document.h"
#include "taesr/embedder.h"
#include "taesr/matrix.h"

namespace taesr {

/// What is stored for one document: its own row, and the rows made from it.
struct PreparedDocument {
  const Document* document = nullptr;
  std::string content_hash;
  std::vector<std::pair<std::string, std::string>> properties;  // what filters compare, from the metadata
  std::vector<Chunk> chunks;
  Matrix vectors;                                 // unit rows [chunks, dimension]
  std::vector<int> depths;                        // by chunk, or empty
  std::vector<std::vector<HeadEmbedding>> heads;  // by chunk, what other heads than the dense made; or empty
};

/// Opens a collection's file to read it, on media that cannot be written, too: `mode` says how.
[[nodiscard]] Database open_to_read(const std::filesystem::path& file, Database::Mode& mode);

/// The rows of a collection: documents, chunks and embeddings in one SQLite file.
///
/// Thread safety: const methods may be called from any thread; the others by one thread at a time.
class DocumentStore {
 public:
  enum class Access { kReadWrite, kReadOnly };

  /// Opens the file, or makes it where it is blank and may be written. Throws what check_schema
  /// throws, and ModelMismatch when the embeddings inside belong to another space.
  DocumentStore(const std::filesystem::path& file, Access access, const VectorSpace& space);

  /// Stores documents in one transaction, each in place of an earlier one of the same id.
  void put(std::span<const PreparedDocument> documents);

  /// Removes documents in one transaction; returns how many there were.
  std::size_t remove(std::span<const std::string> ids);
  /// The same for those that have all these properties.
  std::size_t remove_matching(const Collection::Filter& filter);

  /// Gives a document other metadata, with the properties made from it; false when there is no such one.
  bool update_metadata(const PreparedDocument& prepared);

  /// Adds embeddings of further heads to chunks in one transaction, each in place of an earlier one of
  /// the same chunk and head. Throws InvalidArgument for an unknown chunk and for the dense head.
  void put_embeddings(std::span<const ChunkEmbedding> embeddings);

  /// Records a further head of the collection, without embeddings: rows of that name, which nothing is
  /// known about, go.
  void start_head(const StoredHead& head);
  /// Records another codec or state of a head, or a head together with which rows are to come.
  void put_head(const StoredHead& head);
  /// The same with every embedding of it in another encoding, all in one transaction.
  void recode_head(const StoredHead& head,
                   const std::function<std::vector<std::byte>(std::span<const std::byte>)>& recode);

  /// Puts a copy of another collection's file in place of everything here, in one transaction. Throws
  /// ModelMismatch, before anything changes, for a copy of another vector space.
  void replace_with(const std::filesystem::path& file);

  /// Share of the file, 0 to 1, that deletions have left unused; small files count as none.
  [[nodiscard]] double unused_share();
  /// Gives that space back to the disk, beside readers. Needs as much again while it runs.
  void vacuum();

  [[nodiscard]] std::optional<Document> document(const std::string& id) const;
  /// What a head made of a chunk with this model, or nothing.
  [[nodiscard]] std::optional<HeadEmbedding> embedding(std::int64_t chunk, std::string_view head) const;
  /// The dense embeddings of chunks, zeros for ids that are gone. Throws FormatError for damaged ones.
  [[nodiscard]] Embeddings dense_embeddings(std::span<const std::int64_t> ids) const;
  /// The further heads that the collection keeps, those still being added too, by name.
  [[nodiscard]] std::vector<StoredHead> heads() const;
  /// Ids, ascending, of chunks that lack an embedding of one of `heads`.
  [[nodiscard]] std::vector<std::int64_t> chunks_without(std::span<const std::string> heads) const;
  [[nodiscard]] std::optional<std::string> content_hash(const std::string& id) const;
  [[nodiscard]] std::vector<DocumentInfo> documents() const;
  [[nodiscard]] std::vector<StoredChunk> chunks(std::span<const std::int64_t> ids) const;
  [[nodiscard]] std::size_t document_count() const;
  [[nodiscard]] std::size_t chunk_count() const;

  /// Ids, ascending, of the chunks of documents that have all these properties.
  [[nodiscard]] std::vector<std::int64_t> chunks_matching(const Collection::Filter& filter) const;

  [[nodiscard]] const VectorSpace& space() const { return space_; }

  /// Changes whenever another process commits, and costs microseconds to ask.
  [[nodiscard]] std::int64_t data_version() const;

  /// A connection that sees one state of the rows until its transaction ends.
  [[nodiscard]] ConnectionPool::Lease connection() const { return pool_->take(); }

  /// True when the file cannot even be locked, so that changes by others are not noticed.
  [[nodiscard]] bool immutable() const { return read_mode_ == Database::Mode::kImmutable; }

 private:
  void open_for_writing(const std::filesystem::path& file, const VectorSpace& space);
  void open_for_reading(const std::filesystem::path& file, const VectorSpace& space);
  void insert(const PreparedDocument& prepared);
  void insert_properties(const PreparedDocument& prepared, std::int64_t number);
  void insert_chunks(const PreparedDocument& prepared, std::int64_t number);
  void insert_embedding(std::int64_t chunk, const EmbeddingView& embedding);
  [[nodiscard]] bool erase(const std::string& id);
  void record_commit();

  VectorSpace space_;
  std::optional<Database> writer_;
  std::optional<Statement> embedding_row_;  // prepared once: it runs for every chunk
  Database::Mode read_mode_ = Database::Mode::kReadOnly;
  std::unique_ptr<ConnectionPool> pool_;
  mutable std::mutex watch_mutex_;
  mutable std::optional<Database> watch_;  // data_version is relative to the connection that asks
};

}  // namespace taesr
