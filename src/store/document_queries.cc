#include "store/document_store.h"
#include "store/filter_sql.h"

namespace taesr {

std::optional<Document> DocumentStore::document(const std::string& id) const {
  const auto connection = pool_->take();
  const Transaction snapshot(*connection, Transaction::Kind::kRead);
  Statement row = connection->prepare(
      "SELECT number, id, title, text, source, metadata, content_hash FROM documents WHERE id = ?");
  row.bind(1, id);
  if (!row.step()) return std::nullopt;
  Document document;
  document.id = row.text(1);
  document.title = row.text(2);
  document.text = row.text(3);
  document.source = row.text(4);
  document.metadata = row.text(5);
  document.content_hash = row.text(6);
  Statement section = connection->prepare(
      "SELECT path, begin_byte, end_byte FROM sections WHERE document = ? ORDER BY position");
  section.bind(1, row.integer(0));
  while (section.step()) {
    document.sections.push_back({section.text(0), static_cast<std::size_t>(section.integer(1)),
                                 static_cast<std::size_t>(section.integer(2))});
  }
  return document;
}

std::optional<std::string> DocumentStore::content_hash(const std::string& id) const {
  const auto connection = pool_->take();
  Statement row = connection->prepare("SELECT content_hash FROM documents WHERE id = ?");
  row.bind(1, id);
  if (!row.step()) return std::nullopt;
  return row.text(0);
}

std::vector<DocumentInfo> DocumentStore::documents() const {
  const auto connection = pool_->take();
  Statement row = connection->prepare(
      "SELECT id, title, source, content_hash, (SELECT count(*) FROM chunks WHERE document = number) "
      "FROM documents ORDER BY id");
  std::vector<DocumentInfo> infos;
  while (row.step()) {
    infos.push_back(
        {row.text(0), row.text(1), row.text(2), row.text(3), static_cast<std::size_t>(row.integer(4))});
  }
  return infos;
}

std::vector<StoredChunk> DocumentStore::chunks(std::span<const std::int64_t> ids) const {
  const auto connection = pool_->take();
  const Transaction snapshot(*connection, Transaction::Kind::kRead);
  Statement row = connection->prepare(
      "SELECT c.section, c.text, c.begin_byte, c.end_byte, c.tokens, d.id, d.title, d.source, d.metadata "
      "FROM chunks c JOIN documents d ON d.number = c.document WHERE c.id = ?");
  std::vector<StoredChunk> found;
  for (const std::int64_t id : ids) {
    row.bind(1, id);
    while (row.step()) {
      Chunk chunk{row.text(0), row.text(1), static_cast<std::size_t>(row.integer(2)),
                  static_cast<std::size_t>(row.integer(3)), static_cast<std::size_t>(row.integer(4))};
      found.push_back({id, row.text(5), row.text(6), row.text(7), row.text(8), std::move(chunk)});
    }
  }
  return found;
}

std::size_t DocumentStore::document_count() const {
  return static_cast<std::size_t>(pool_->take()->query_integer("SELECT count(*) FROM documents"));
}

std::size_t DocumentStore::chunk_count() const {
  return static_cast<std::size_t>(pool_->take()->query_integer("SELECT count(*) FROM chunks"));
}

std::vector<std::int64_t> DocumentStore::chunks_matching(const Collection::Filter& filter) const {
  const auto connection = pool_->take();
  Statement row = connection->prepare("SELECT id FROM chunks WHERE " + filter_condition(filter, "document") +
                                      " ORDER BY id");
  bind_filter(row, filter);
  std::vector<std::int64_t> ids;
  while (row.step()) ids.push_back(row.integer(0));
  return ids;
}

}  // namespace taesr
