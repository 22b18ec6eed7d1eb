// What copies of a collection in other formats, and checks of it, read from the rows.

#include "store/row_snapshot.h"

namespace taesr {
namespace {

std::vector<Section> read_sections(Database& database, std::int64_t document_number) {
  Statement row = database.prepare(
      "SELECT path, begin_byte, end_byte FROM sections WHERE document = ? ORDER BY position");
  row.bind(1, document_number);
  std::vector<Section> sections;
  while (row.step()) {
    sections.push_back(
        {row.text(0), static_cast<std::size_t>(row.integer(1)), static_cast<std::size_t>(row.integer(2))});
  }
  return sections;
}

}  // namespace

void RowSnapshot::for_each_document(const std::function<void(std::int64_t, const Document&)>& visit) const {
  Statement row = connection_->prepare(
      "SELECT number, id, title, text, source, metadata, content_hash FROM documents ORDER BY number");
  while (row.step()) {
    const std::int64_t number = row.integer(0);
    Document document;
    document.id = row.text(1);
    document.title = row.text(2);
    document.text = row.text(3);
    document.source = row.text(4);
    document.metadata = row.text(5);
    document.content_hash = row.text(6);
    document.sections = read_sections(*connection_, number);
    visit(number, document);
  }
}

std::vector<RowSnapshot::HeadSize> RowSnapshot::head_sizes(const std::string& fingerprint) const {
  Statement row = connection_->prepare(
      "SELECT head, count(*), total(length(data)) FROM embedding WHERE fingerprint = ? GROUP BY head");
  row.bind(1, fingerprint);
  std::vector<HeadSize> sizes;
  while (row.step()) sizes.push_back({row.text(0), row.integer(1), row.integer(2)});
  return sizes;
}

std::vector<std::pair<std::int64_t, Chunk>> RowSnapshot::chunks_of(std::int64_t document_number) const {
  Statement row = connection_->prepare(
      "SELECT id, section, text, begin_byte, end_byte, tokens FROM chunks WHERE document = ? ORDER BY id");
  row.bind(1, document_number);
  std::vector<std::pair<std::int64_t, Chunk>> chunks;
  while (row.step()) {
    chunks.emplace_back(
        row.integer(0),
        Chunk{row.text(1), row.text(2), static_cast<std::size_t>(row.integer(3)),
              static_cast<std::size_t>(row.integer(4)), static_cast<std::size_t>(row.integer(5))});
  }
  return chunks;
}

std::vector<HeadEmbedding> RowSnapshot::embeddings_of(std::int64_t chunk,
                                                      const std::string& fingerprint) const {
  Statement row = connection_->prepare(
      "SELECT head, codec, depth, data FROM embedding WHERE chunk = ? AND fingerprint = ? ORDER BY head");
  row.bind(1, chunk).bind(2, fingerprint);
  std::vector<HeadEmbedding> embeddings;
  while (row.step()) {
    const auto data = row.bytes(3);
    embeddings.push_back(
        {row.text(0), row.text(1), static_cast<int>(row.integer(2)), {data.begin(), data.end()}});
  }
  return embeddings;
}

}  // namespace taesr
