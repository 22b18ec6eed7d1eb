#include "store/head_table.h"

#include "store/document_store.h"
#include "store/row_snapshot.h"
#include "taesr/errors.h"

namespace taesr {

std::vector<StoredHead> read_heads(Database& database) {
  Statement row = database.prepare("SELECT name, codec, ready, parameters FROM heads ORDER BY name");
  std::vector<StoredHead> heads;
  while (row.step()) {
    const auto parameters = row.bytes(3);
    heads.push_back({row.text(0), row.text(1), row.integer(2) != 0, {parameters.begin(), parameters.end()}});
  }
  return heads;
}

void write_head(Database& database, const StoredHead& head) {
  check_names(head.name, head.codec.empty() ? kFloat32Codec : head.codec);
  database.prepare("INSERT OR REPLACE INTO heads (name, codec, ready, parameters) VALUES (?, ?, ?, ?)")
      .bind(1, head.name)
      .bind(2, head.codec)
      .bind(3, std::int64_t{head.ready})
      .bind_bytes(4, head.parameters)
      .run();
}

void forget_codecs(Database& database) {
  database.execute("UPDATE heads SET codec = '', parameters = x'' WHERE length(parameters) > 0");
}

void DocumentStore::put_head(const StoredHead& head) {
  Transaction transaction(*writer_, Transaction::Kind::kWrite);
  write_head(*writer_, head);
  record_commit();
  transaction.commit();
}

void DocumentStore::start_head(const StoredHead& head) {
  Transaction transaction(*writer_, Transaction::Kind::kWrite);
  writer_->prepare("DELETE FROM embedding WHERE head = ? AND head <> ?")
      .bind(1, head.name)
      .bind(2, kDenseHead)
      .run();
  write_head(*writer_, head);
  record_commit();
  transaction.commit();
}

void DocumentStore::recode_head(
    const StoredHead& head,
    const std::function<std::vector<std::byte>(std::span<const std::byte>)>& recode) {
  Transaction transaction(*writer_, Transaction::Kind::kWrite);
  // The ids come first: rows that change while they are being read may be met twice.
  std::vector<std::int64_t> chunks;
  {
    Statement row = writer_->prepare("SELECT chunk FROM embedding WHERE head = ? AND fingerprint = ?");
    row.bind(1, head.name).bind(2, space_.fingerprint);
    while (row.step()) chunks.push_back(row.integer(0));
  }
  constexpr std::string_view kWhere = " WHERE chunk = ? AND head = ? AND fingerprint = ?";
  Statement read = writer_->prepare("SELECT data FROM embedding" + std::string(kWhere));
  Statement write = writer_->prepare("UPDATE embedding SET data = ?, codec = ?" + std::string(kWhere));
  for (const std::int64_t chunk : chunks) {
    read.bind(1, chunk).bind(2, head.name).bind(3, space_.fingerprint);
    if (!read.step()) continue;
    const std::vector<std::byte> data = recode(read.bytes(0));
    static_cast<void>(read.step());  // to the end, which resets it
    write.bind_bytes(1, data).bind(2, head.codec).bind(3, chunk).bind(4, head.name);
    write.bind(5, space_.fingerprint).run();
  }
  write_head(*writer_, head);
  record_commit();
  transaction.commit();
}

std::vector<StoredHead> DocumentStore::heads() const { return read_heads(*pool_->take()); }

std::vector<std::int64_t> DocumentStore::chunks_without(std::span<const std::string> heads) const {
  std::string missing;
  for (std::size_t i = 0; i < heads.size(); ++i) {
    missing += missing.empty() ? "" : " OR ";
    missing +=
        "NOT EXISTS (SELECT 1 FROM embedding e WHERE e.chunk = c.id AND e.head = ? AND e.fingerprint = ?)";
  }
  if (missing.empty()) return {};
  const auto connection = pool_->take();
  Statement row = connection->prepare("SELECT c.id FROM chunks c WHERE " + missing + " ORDER BY c.id");
  int parameter = 0;
  for (const std::string& head : heads) {
    row.bind(++parameter, head);
    row.bind(++parameter, space_.fingerprint);
  }
  std::vector<std::int64_t> ids;
  while (row.step()) ids.push_back(row.integer(0));
  return ids;
}

std::vector<StoredHead> RowSnapshot::heads(bool pending) const {
  std::vector<StoredHead> heads = read_heads(*connection_);
  if (!pending) std::erase_if(heads, [](const StoredHead& head) { return !head.ready; });
  return heads;
}

}  // namespace taesr
