#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "store/document_store.h"

namespace taesr {

/// One consistent state of the rows, as the derived indexes read it, whatever is committed meanwhile.
class RowSnapshot {
 public:
  explicit RowSnapshot(const DocumentStore& store);

  [[nodiscard]] Revision revision() const { return revision_; }

  /// Whether the rows once were at `revision`: an index made then can be brought up to date.
  [[nodiscard]] bool descends_from(const Revision& revision) const;

  /// Ids of all chunks, ascending.
  [[nodiscard]] std::vector<std::int64_t> chunk_ids() const;

  /// Calls back for the dense embedding, in `space`, of each chunk with an id above `after`, ascending.
  /// Throws FormatError for a vector of another size or not of unit length.
  void for_each_vector(std::int64_t after, const VectorSpace& space,
                       const std::function<void(std::int64_t, std::span<const float>)>& visit) const;

  /// Calls back for the embedding that `head` and the model of `fingerprint` made of each chunk with an id
  /// above `after`, ascending. Chunks without one are left out; the data is not checked.
  void for_each_embedding(std::string_view head, std::int64_t after, const std::string& fingerprint,
                          const std::function<void(std::int64_t, const EmbeddingView&)>& visit) const;

  /// The further heads that every chunk has an embedding of, by name; with `pending` those still being
  /// added, too.
  [[nodiscard]] std::vector<StoredHead> heads(bool pending = false) const;

  /// Calls back for every document, by ascending number, with that number.
  void for_each_document(const std::function<void(std::int64_t, const Document&)>& visit) const;

  /// How many chunks the model of `fingerprint` has embeddings of, and their bytes, by head.
  struct HeadSize {
    std::string head;
    std::int64_t chunks = 0;
    std::int64_t bytes = 0;
  };
  [[nodiscard]] std::vector<HeadSize> head_sizes(const std::string& fingerprint) const;

  /// A document's chunks with their ids, ascending.
  [[nodiscard]] std::vector<std::pair<std::int64_t, Chunk>> chunks_of(std::int64_t document_number) const;

  /// A chunk's embeddings by the model of `fingerprint`, by head.
  [[nodiscard]] std::vector<HeadEmbedding> embeddings_of(std::int64_t chunk,
                                                         const std::string& fingerprint) const;

  /// First column of the first row of a query, as in Database::query_integer.
  [[nodiscard]] std::int64_t query_integer(std::string_view sql) const {
    return connection_->query_integer(sql);
  }

  /// Calls back with (id, title, section path, text) of each chunk with an id above `after`, ascending.
  void for_each_passage(std::int64_t after,
                        const std::function<void(std::int64_t, const std::string&, const std::string&,
                                                 const std::string&)>& visit) const;

 private:
  ConnectionPool::Lease connection_;
  Transaction transaction_;
  Revision revision_;
};

}  // namespace taesr
