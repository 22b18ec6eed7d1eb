#include <cstring>

#include "store/document_store.h"
#include "store/row_snapshot.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

constexpr std::string_view kHeadLetters = "abcdefghijklmnopqrstuvwxyz0123456789-";
constexpr std::string_view kCodecLetters = "abcdefghijklmnopqrstuvwxyz0123456789-_./";
constexpr std::size_t kLongestName = 32;

void require_name(std::string_view what, std::string_view name, std::string_view letters) {
  if (!name.empty() && name.size() <= kLongestName && name.find_first_not_of(letters) == std::string::npos)
    return;
  throw InvalidArgument("an embedding's " + std::string(what) + " is '" + std::string(name) + "'; 1 to " +
                        std::to_string(kLongestName) + " of the characters " + std::string(letters) +
                        " are allowed");
}

}  // namespace

void check_names(std::string_view head, std::string_view codec) {
  require_name("head", head, kHeadLetters);
  require_name("codec", codec, kCodecLetters);
}

void DocumentStore::insert_embedding(std::int64_t chunk, const EmbeddingView& embedding) {
  check_names(embedding.head, embedding.codec);
  if (!embedding_row_) {
    embedding_row_.emplace(
        writer_->prepare("INSERT OR REPLACE INTO embedding (chunk, head, fingerprint, depth, data, codec) "
                         "VALUES (?, ?, ?, ?, ?, ?)"));
  }
  embedding_row_->bind(1, chunk).bind(2, embedding.head).bind(3, space_.fingerprint);
  embedding_row_->bind(4, std::int64_t{embedding.depth}).bind_bytes(5, embedding.data);
  embedding_row_->bind(6, embedding.codec).run();
}

void DocumentStore::put_embeddings(std::span<const ChunkEmbedding> embeddings) {
  if (embeddings.empty()) return;
  Transaction transaction(*writer_, Transaction::Kind::kWrite);
  Statement known = writer_->prepare("SELECT EXISTS (SELECT 1 FROM chunks WHERE id = ?)");
  for (const ChunkEmbedding& row : embeddings) {
    if (row.embedding.head == kDenseHead) {
      throw InvalidArgument("the dense embedding of a chunk comes with its document; add the document again");
    }
    known.bind(1, row.chunk);
    if (!known.step() || known.integer(0) == 0) {
      throw InvalidArgument("'" + writer_->path() + "' has no chunk " + std::to_string(row.chunk) +
                            " to add an embedding to");
    }
    static_cast<void>(known.step());
    insert_embedding(row.chunk, row.embedding.view());
  }
  record_commit();
  transaction.commit();
}

std::optional<HeadEmbedding> DocumentStore::embedding(std::int64_t chunk, std::string_view head) const {
  const auto connection = pool_->take();
  Statement row = connection->prepare(
      "SELECT codec, depth, data FROM embedding WHERE chunk = ? AND head = ? AND fingerprint = ?");
  row.bind(1, chunk).bind(2, head).bind(3, space_.fingerprint);
  if (!row.step()) return std::nullopt;
  const auto data = row.bytes(2);
  return HeadEmbedding{
      std::string(head), row.text(0), static_cast<int>(row.integer(1)), {data.begin(), data.end()}};
}

Embeddings DocumentStore::dense_embeddings(std::span<const std::int64_t> ids) const {
  Embeddings found{Matrix(ids.size(), space_.dimension), std::vector<int>(ids.size())};
  const auto connection = pool_->take();
  Statement row = connection->prepare(
      "SELECT codec, depth, data FROM embedding WHERE chunk = ? AND head = ? AND fingerprint = ?");
  row.bind(2, kDenseHead).bind(3, space_.fingerprint);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    row.bind(1, ids[i]);
    if (!row.step()) continue;
    const auto data = row.bytes(2);
    if (row.text(0) != kFloat32Codec || data.size() != space_.dimension * sizeof(float)) {
      throw FormatError("'" + connection->path() + "': the embedding of chunk " + std::to_string(ids[i]) +
                        " is damaged; restore a snapshot or ingest again");
    }
    std::memcpy(found.vectors.row(i).data(), data.data(), data.size());
    found.depths[i] = static_cast<int>(row.integer(1));
    static_cast<void>(row.step());  // to the end, which resets it
  }
  return found;
}

void RowSnapshot::for_each_embedding(
    std::string_view head, std::int64_t after, const std::string& fingerprint,
    const std::function<void(std::int64_t, const EmbeddingView&)>& visit) const {
  Statement row = connection_->prepare(
      "SELECT chunk, codec, depth, data FROM embedding WHERE chunk > ? AND head = ? AND fingerprint = ? "
      "ORDER BY chunk");
  row.bind(1, after).bind(2, head).bind(3, fingerprint);
  while (row.step()) {
    const std::string codec = row.text(1);
    visit(row.integer(0), {head, codec, static_cast<int>(row.integer(2)), row.bytes(3)});
  }
}

}  // namespace taesr
