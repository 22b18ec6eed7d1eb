#include "store/row_snapshot.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "taesr/errors.h"

namespace taesr {

RowSnapshot::RowSnapshot(const DocumentStore& store)
    : connection_(store.connection()), transaction_(*connection_, Transaction::Kind::kRead) {
  Statement row =
      connection_->prepare("SELECT generation, token FROM commits ORDER BY generation DESC LIMIT 1");
  if (row.step()) revision_ = {row.integer(0), row.integer(1)};
}

bool RowSnapshot::descends_from(const Revision& revision) const {
  Statement row = connection_->prepare("SELECT 1 FROM commits WHERE generation = ? AND token = ?");
  return row.bind(1, revision.generation).bind(2, revision.token).step();
}

std::vector<std::int64_t> RowSnapshot::chunk_ids() const {
  // Sorting here is faster than ORDER BY, which would read the whole table instead of its index.
  Statement row = connection_->prepare("SELECT id FROM chunks INDEXED BY chunks_by_document");
  std::vector<std::int64_t> ids;
  while (row.step()) ids.push_back(row.integer(0));
  std::sort(ids.begin(), ids.end());
  return ids;
}

void RowSnapshot::for_each_vector(
    std::int64_t after, const VectorSpace& space,
    const std::function<void(std::int64_t, std::span<const float>)>& visit) const {
  std::vector<float> vector(space.dimension);
  for_each_embedding(kDenseHead, after, space.fingerprint, [&](std::int64_t id, const EmbeddingView& row) {
    const std::span<const std::byte> bytes = row.data;
    double squares = -1;
    if (row.codec == kFloat32Codec && bytes.size() == space.dimension * sizeof(float)) {
      std::memcpy(vector.data(), bytes.data(), bytes.size());
      squares = 0;
      for (const float value : vector) squares += double{value} * value;
    }
    if (!(std::abs(squares - 1) < 0.01)) {  // written so that NaN fails too
      throw FormatError("'" + connection_->path() + "': the embedding of chunk " + std::to_string(id) +
                        " is damaged; restore the file from a backup or ingest again");
    }
    visit(id, vector);
  });
}

void RowSnapshot::for_each_passage(
    std::int64_t after,
    const std::function<void(std::int64_t, const std::string&, const std::string&, const std::string&)>&
        visit) const {
  Statement row = connection_->prepare(
      "SELECT c.id, d.title, c.section, c.text FROM chunks c JOIN documents d ON d.number = c.document "
      "WHERE c.id > ? ORDER BY c.id");
  row.bind(1, after);
  while (row.step()) visit(row.integer(0), row.text(1), row.text(2), row.text(3));
}

}  // namespace taesr
