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
#include "taesr/maintenance.h"

namespace taesr {

/// How a collection is opened.
struct OpenOptions {
  bool create = true;      // make the directory when there is none
  bool read_only = false;  // many readers may be open beside one writer
  /// A writer compacts the database by itself once more than this share of it, 0 to 1, is left unused by
  /// deletions; 1: never. Files with less than 1 MB unused are left as they are. The index of vectors is made
  /// anew, by writers and readers alike, once more than this share of it is of deleted chunks.
  double compact_beyond = 0.3;
  /// Heads to search by: "dense" and "keyword", which every collection has, and "sparse" and "late" of
  /// embedders that have them. A new collection gets those named here; one that is there must have them
  /// already: see Collection::add_heads. Empty: as the collection was made.
  std::vector<std::string> heads = {};
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

/// A term, as it is indexed, and what it adds to the BM25 score of a chunk that has it.
struct TermScore {
  std::string term;
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
/// Thread safety: const methods may be called concurrently; the others exclude each other, and searches
/// see either the state before a change or the state after.
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

  /// Here and below: only documents whose metadata has these keys with these values, at most 64. Numbers
  /// and booleans compare as JSON writes them; a list matches by any of its items.
  using Filter = std::map<std::string, std::string>;

  /// Adds "sparse" or "late" to the heads of the collection and embeds what is in it for them, with `depth`
  /// and `progress` of the options, which counts chunks. Heads that it has already stay as they are.
  /// Interrupted, the next call goes on where this one stopped, and the heads can be searched when all is
  /// done. Returns how many chunks were embedded. Throws InvalidArgument for heads that the embedder lacks.
  std::size_t add_heads(std::span<const std::string> heads, const AddOptions& options = {});

  /// Removes documents by id; unknown ids are ignored. Returns how many were removed.
  std::size_t remove(std::span<const std::string> ids);
  /// The same by metadata. Throws InvalidArgument for an empty filter, which would remove everything.
  std::size_t remove_matching(const Filter& filter);

  /// Gives a document other metadata, one JSON object, without embedding it again; false for an unknown
  /// id. Adding the document again with its earlier metadata is a change like any other.
  bool update_metadata(const std::string& id, const std::string& metadata);

  /// The same as the functions of these names in taesr/maintenance.h, for an open collection. A reader may
  /// make snapshots, too.
  CompactReport compact();
  Snapshot create_snapshot(std::size_t keep = 0) const;
  [[nodiscard]] std::vector<Snapshot> snapshots() const;
  Snapshot restore_snapshot(const std::string& name);

  /// Nearest chunks to `query` (a unit vector of embedder().dimension() values, or a prefix of one,
  /// 1 to dimension(), which is compared with the equal prefix of the chunks, both renormalised).
  /// At most k, best first; fewer when there are fewer. Score: cosine.
  [[nodiscard]] std::vector<Candidate> search_dense(std::span<const float> query, std::size_t k,
                                                    const Filter& filter = {}) const;

  /// Best chunks by BM25 (k1 = 1.5, b = 0.75, Lucene's idf; Robertson and Zaragoza 2009) over
  /// title, section path and text, English stop words removed and Porter stemmed.
  [[nodiscard]] std::vector<Candidate> search_keyword(const std::string& query, std::size_t k,
                                                      const Filter& filter = {}) const;

  /// Best chunks by the product of sparse vectors (SPLADE), of those that share a piece with the query.
  /// Here and below, throws InvalidArgument when the collection does not have the head.
  [[nodiscard]] std::vector<Candidate> search_sparse(const SparseVector& query, std::size_t k,
                                                     const Filter& filter = {}) const;

  /// Best chunks by late interaction (ColBERT): `query` has a unit vector a token, and a chunk scores, for
  /// each, its nearest token's product. Exact for few chunks, else among those that centroids propose.
  [[nodiscard]] std::vector<Candidate> search_late(const Matrix& query, std::size_t k,
                                                   const Filter& filter = {}) const;

  /// The same scores for given chunks, best first. Ids that are gone are left out, and so are those without
  /// a shared piece.
  [[nodiscard]] std::vector<Candidate> score_sparse(const SparseVector& query,
                                                    std::span<const std::int64_t> ids) const;
  [[nodiscard]] std::vector<Candidate> score_late(const Matrix& query,
                                                  std::span<const std::int64_t> ids) const;

  /// Names of the heads that can be searched, ascending: "dense", "keyword" and perhaps "late" and "sparse".
  [[nodiscard]] std::vector<std::string> heads() const;

  /// Of each chunk, the query's terms that it has, ascending; their scores add up to search_keyword's.
  [[nodiscard]] std::vector<std::vector<TermScore>> keyword_terms(const std::string& query,
                                                                  std::span<const std::int64_t> ids) const;

  /// Chunks' dense vectors with the recursions that they took, as stored. Ids that are gone have zeros.
  [[nodiscard]] Embeddings embeddings(std::span<const std::int64_t> ids) const;

  /// Stored rows for candidates, in the order asked for. Ids that are gone are left out.
  [[nodiscard]] std::vector<StoredChunk> chunks(std::span<const std::int64_t> ids) const;

  [[nodiscard]] std::vector<DocumentInfo> documents() const;
  [[nodiscard]] std::optional<Document> document(const std::string& id) const;
  [[nodiscard]] std::size_t document_count() const;
  [[nodiscard]] std::size_t chunk_count() const;
  [[nodiscard]] const Embedder& embedder() const;

  /// Sentences about what was done beyond what was asked for, such as rebuilding a damaged index.
  [[nodiscard]] std::vector<std::string> notes() const;

 private:
  struct Impl;
  explicit Collection(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace taesr
