#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "taesr/chunker.h"
#include "taesr/document.h"
#include "taesr/embedder.h"
#include "taesr/export.h"

namespace taesr {

/// How a collection is opened.
struct OpenOptions {
  bool create = true;      // make the directory when there is none
  bool read_only = false;  // many readers may be open beside one writer
};

/// How documents are added.
struct AddOptions {
  ChunkOptions chunking;
  std::string depth = "auto";  // of the passages' embeddings
  bool replace = false;        // embed again even where the content hash is unchanged
  /// Called with (documents done, documents in all) after each batch; returning false or throwing stops
  /// there, and what was committed by then stays. It may search the collection, but not change it.
  std::function<bool(std::size_t, std::size_t)> progress;
};

/// What an `add` did.
struct AddReport {
  std::size_t added = 0;
  std::size_t updated = 0;
  std::size_t unchanged = 0;
  std::size_t chunks = 0;  // embedded by this call
};

/// One candidate of one head: a chunk's row id and the head's own score (higher is better).
struct Candidate {
  std::int64_t chunk = 0;
  float score = 0;
};

/// A chunk with the document that it belongs to, as stored.
struct StoredChunk {
  std::int64_t id = 0;
  std::string document;
  std::string title;
  std::string source;
  std::string metadata;  // the document's, one JSON object
  Chunk chunk;
};

/// One line of `Collection::documents`.
struct DocumentInfo {
  std::string id;
  std::string title;
  std::string source;
  std::string content_hash;
  std::size_t chunks = 0;
};

/// Documents, their chunks and embeddings in one SQLite file, with the indexes derived from it.
///
/// A collection is a directory: `collection.sqlite` holds everything; `*.idx` files beside it are
/// derived, checked before use and rebuilt from the rows when missing, stale or damaged.
/// One writer and many readers, in any number of processes; a second writer fails at once with an
/// IoError that names the holder. Changes are transactions: a process killed at any moment leaves
/// the collection as it was after the last batch that was committed.
///
/// Thread safety: const methods may be called concurrently; `add` and `remove` exclude each other
/// and searches see either the state before a batch or the state after.
class TAESR_API Collection {
 public:
  /// Throws IoError, FormatError or VersionError for a directory or file that cannot be used, and
  /// ModelMismatch when the embeddings inside were made by another embedder.
  [[nodiscard]] static Collection open(const std::filesystem::path& directory,
                                       std::shared_ptr<const Embedder> embedder, const OpenOptions& options = {});
  ~Collection();
  Collection(Collection&&) noexcept;
  Collection& operator=(Collection&&) noexcept;

  /// Adds new documents and replaces those whose content hash differs. Throws InvalidArgument, before
  /// anything is stored, for a document or option that cannot be used and for a read-only collection.
  AddReport add(std::span<const Document> documents, const AddOptions& options = {});

  /// Removes documents by id; unknown ids are ignored. Returns how many were removed.
  std::size_t remove(std::span<const std::string> ids);

  /// Nearest chunks to `query` (a unit vector of embedder().dimension() values, or a prefix of one,
  /// 1 to dimension(), which is compared with the equal prefix of the chunks, both renormalised).
  /// At most k, best first; fewer when there are fewer. Score: cosine.
  /// `filter`, here and below: only chunks of documents whose metadata has these keys with these values,
  /// at most 64. Numbers and booleans compare as JSON writes them; a list matches by any of its items.
  using Filter = std::map<std::string, std::string>;
  [[nodiscard]] std::vector<Candidate> search_dense(std::span<const float> query, std::size_t k,
                                                    const Filter& filter = {}) const;

  /// Best chunks by BM25 (k1 = 1.5, b = 0.75, Lucene's idf; Robertson and Zaragoza 2009) over
  /// title, section path and text, English stop words removed and Porter stemmed.
  [[nodiscard]] std::vector<Candidate> search_keyword(const std::string& query, std::size_t k,
                                                      const Filter& filter = {}) const;

  /// Stored rows for candidates, in the order asked for. Ids that are gone are left out.
  [[nodiscard]] std::vector<StoredChunk> chunks(std::span<const std::int64_t> ids) const;

  [[nodiscard]] std::vector<DocumentInfo> documents() const;
  [[nodiscard]] std::optional<Document> document(const std::string& id) const;
  [[nodiscard]] std::size_t document_count() const;
  [[nodiscard]] std::size_t chunk_count() const;
  [[nodiscard]] const Embedder& embedder() const;

  /// Sentences about what opening did beyond opening, such as rebuilding a damaged index.
  [[nodiscard]] const std::vector<std::string>& notes() const;

 private:
  struct Impl;
  explicit Collection(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace taesr
