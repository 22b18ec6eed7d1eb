#include "collection/head_indexes.h"

#include "collection/late_codec.h"
#include "index/sparse_codec.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

constexpr std::uint32_t kCodecName = section_tag("NAME");
constexpr std::size_t kLateCandidates = 256;  // scored exactly, or four times k if that is more

void check_complete(const IdList& known, const IdList& ids, std::string_view head) {
  if (known == ids) return;
  throw FormatError("the collection is damaged: " + std::to_string(ids.size()) + " chunks have " +
                    std::to_string(known.size()) + " embeddings of the " + std::string(head) +
                    " head; restore it from a backup or ingest again");
}

/// Calls back with (id, sparse vector) for each chunk above `after`.
template <typename Visit>
void for_each_sparse(const RowSnapshot& rows, std::int64_t after, const std::string& fingerprint,
                     const Visit& visit) {
  rows.for_each_embedding(kSparseHead, after, fingerprint, [&](std::int64_t id, const EmbeddingView& row) {
    const std::string name = "the sparse embedding of chunk " + std::to_string(id);
    if (row.codec != kSparseCodec)
      throw FormatError(name + " is of the unknown codec '" + std::string(row.codec) + "'");
    visit(id, decode_sparse(row.data, name));
  });
}

}  // namespace

void HeadIndexes::load(IndexKind kind, const IndexFile& file) {
  if (kind == IndexKind::kImpact) {
    sparse_ = SparseIndex::load(file);
    return;
  }
  late_codec_ = std::string(file.section(kCodecName));
  late_ = TokenIndex::load(file);
}

void HeadIndexes::follow(const RowSnapshot& rows, const IdList& ids, const std::string& fingerprint) {
  has_sparse_ = has_late_ = false;
  for (const StoredHead& head : rows.heads()) {
    if (head.name == kSparseHead) {
      has_sparse_ = true;
      follow_sparse(rows, ids, fingerprint);
    } else if (head.name == kLateHead) {
      has_late_ = true;
      follow_late(rows, ids, fingerprint, head);
    }
  }
  if (!has_sparse_) sparse_.reset();
  if (!has_late_) late_.reset();
}

void HeadIndexes::follow_sparse(const RowSnapshot& rows, const IdList& ids, const std::string& fingerprint) {
  if (!sparse_ || !drop_removed(*sparse_, ids)) sparse_.emplace();
  const bool anew = sparse_->size() == 0;
  for_each_sparse(rows, sparse_->last_id(), fingerprint,
                  [&](std::int64_t id, SparseVector text) { sparse_->append(id, std::move(text)); });
  check_complete(sparse_->live_ids(), ids, kSparseHead);
  if (anew && sparse_->needs_rebuild()) sparse_->build();
}

void HeadIndexes::follow_late(const RowSnapshot& rows, const IdList& ids, const std::string& fingerprint,
                              const StoredHead& head) {
  if (!late_ || late_codec_ != head.codec || !drop_removed(*late_, ids)) {
    late_.reset();
    const auto codec = read_late_codec(head);
    if (!codec) return;  // no text has had tokens yet
    late_.emplace(codec->codec);
    late_codec_ = head.codec;
  }
  const auto append = [&](std::int64_t id, const EmbeddingView& row) {
    const auto damaged = [&](const std::string& how) {
      return FormatError("the late embedding of chunk " + std::to_string(id) + " is damaged: " + how +
                         "; restore a snapshot or ingest again");
    };
    if (!row.data.empty() && row.codec != late_codec_) {
      throw damaged("it is of codec '" + std::string(row.codec) + "' instead of '" + late_codec_ + "'");
    }
    try {
      late_->append_codes(id, {reinterpret_cast<const std::uint8_t*>(row.data.data()), row.data.size()});
    } catch (const FormatError& error) {
      throw damaged(error.what());
    }
  };
  rows.for_each_embedding(kLateHead, late_->last_id(), fingerprint, append);
  check_complete(late_->live_ids(), ids, kLateHead);
}

std::optional<SparseIndex> HeadIndexes::rebuilt_sparse(const RowSnapshot& rows,
                                                       const std::string& fingerprint) const {
  if (!sparse_ || !sparse_->needs_rebuild()) return std::nullopt;
  SparseIndex fresh;
  for_each_sparse(rows, 0, fingerprint,
                  [&](std::int64_t id, SparseVector text) { fresh.append(id, std::move(text)); });
  fresh.build();
  return fresh;
}

std::vector<Candidate> HeadIndexes::search_late(const Matrix& query, std::size_t k,
                                                const IdList* allowed) const {
  if (!late_ || query.rows == 0) return {};
  const std::size_t count = std::max(kLateCandidates, 4 * k);
  const std::size_t choice = allowed != nullptr ? allowed->size() : late_->size();
  IdList ids;
  if (choice > count) {
    ids = late_->candidates(query, count, 8, allowed);
  } else {
    ids = allowed != nullptr ? *allowed : late_->live_ids();
  }
  std::vector<Candidate> scored = late_->score(query, ids);
  scored.resize(std::min(scored.size(), k));
  return scored;
}

std::vector<IndexSection> HeadIndexes::save(IndexKind kind) const {
  if (kind == IndexKind::kImpact) return sparse_->save();
  std::vector<IndexSection> sections = late_->save();
  sections.push_back({kCodecName, late_codec_});
  return sections;
}

}  // namespace taesr
