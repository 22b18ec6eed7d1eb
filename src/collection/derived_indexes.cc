#include "collection/derived_indexes.h"

#include <mutex>
#include <system_error>

#include "collection/passage_text.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

constexpr IndexKind kFurtherKinds[] = {IndexKind::kImpact, IndexKind::kTokens};

}  // namespace

DerivedIndexes::DerivedIndexes(std::filesystem::path directory, VectorSpace space,
                               const HnswIndexOptions& dense)
    : directory_(std::move(directory)),
      space_(std::move(space)),
      dense_options_(dense),
      dense_(space_.dimension, dense) {}

std::filesystem::path DerivedIndexes::path_of(IndexKind kind) const {
  switch (kind) {
    case IndexKind::kDense:
      return directory_ / "dense.idx";
    case IndexKind::kKeyword:
      return directory_ / "keyword.idx";
    case IndexKind::kImpact:
      return directory_ / "sparse.idx";
    case IndexKind::kTokens:
      return directory_ / "late.idx";
  }
  return {};
}

/// Nothing when the file is of the rows' revision and was loaded; else a sentence saying what is done.
template <typename Load>
std::optional<std::string> DerivedIndexes::load_file(IndexKind kind, const DocumentStore& store,
                                                     const Load& load) {
  const std::filesystem::path path = path_of(kind);
  if (!std::filesystem::exists(path)) return "'" + path.string() + "' was missing: rebuilt from the rows";
  try {
    const IndexFile file(path);
    const IndexOrigin& origin = file.origin();
    if (origin.kind != kind) throw FormatError(file.name() + " is an index of another kind");
    if (origin.fingerprint != space_.fingerprint)
      throw FormatError(file.name() + " was made with another model");
    // Looked up after the file was read: a writer may be saving files newer than an earlier snapshot.
    const RowSnapshot rows(store);
    if (!rows.descends_from(origin.revision)) throw FormatError(file.name() + " was made from other rows");
    load(file);
    if (origin.revision == rows.revision()) return std::nullopt;
    return file.name() + " was older than the rows: brought up to date from them";
  } catch (const Error& error) {
    return std::string(error.what()) + ": rebuilt from the rows";
  }
}

std::vector<std::string> DerivedIndexes::open(const DocumentStore& store) {
  const auto dense = load_file(IndexKind::kDense, store, [&](const IndexFile& file) {
    dense_ = HnswIndex::load(file, space_.dimension, dense_options_);
  });
  const auto keyword = load_file(IndexKind::kKeyword, store,
                                 [&](const IndexFile& file) { keyword_ = KeywordIndex::load(file); });
  std::vector<std::optional<std::string>> found = {dense, keyword};
  for (const StoredHead& head : RowSnapshot(store).heads()) {
    if (head.codec.empty()) continue;  // nothing to index yet
    const IndexKind kind = head.name == kSparseHead ? IndexKind::kImpact : IndexKind::kTokens;
    found.push_back(load_file(kind, store, [&](const IndexFile& file) { further_.load(kind, file); }));
  }
  const RowSnapshot rows(store);
  follow(rows);
  compact(rows);
  std::vector<std::string> notes;
  for (const auto& note : found) {
    if (note) notes.push_back(*note);
  }
  if (notes.empty() && changed_ == 0) saved_ = revision_;
  if (empty()) notes.clear();  // what is missing holds nothing
  return notes;
}

void DerivedIndexes::catch_up(const DocumentStore& store) {
  const RowSnapshot rows(store);
  if (rows.revision() == revision_) return;
  if (!rows.descends_from(revision_)) {  // a snapshot was restored: equal ids may be other chunks
    rebuild(store);
    return;
  }
  follow(rows);
  compact(rows);
}

void DerivedIndexes::rebuild(const DocumentStore& store) {
  DerivedIndexes fresh(directory_, space_, dense_options_);
  fresh.follow(RowSnapshot(store));
  const std::unique_lock lock(mutex_);
  dense_ = std::move(fresh.dense_);
  keyword_ = std::move(fresh.keyword_);
  further_ = std::move(fresh.further_);
  revision_ = fresh.revision_;
  saved_.reset();
}

void DerivedIndexes::follow(const RowSnapshot& rows) {
  const IdList ids = rows.chunk_ids();
  const std::unique_lock lock(mutex_);
  const auto removed = drop_removed(dense_, ids);
  if (!removed) dense_ = HnswIndex(space_.dimension, dense_options_);
  if (!drop_removed(keyword_, ids)) keyword_ = KeywordIndex();
  const std::size_t kept = dense_.size();
  rows.for_each_vector(dense_.last_id(), space_,
                       [&](std::int64_t id, std::span<const float> vector) { dense_.append(id, vector); });
  dense_.link();
  rows.for_each_passage(keyword_.last_id(), [&](std::int64_t id, const std::string& title,
                                                const std::string& section, const std::string& text) {
    keyword_.append(id, passage_text(title, section, text));
  });
  if (dense_.live_ids() != ids || keyword_.live_ids() != ids) {
    throw FormatError(
        "the collection in '" + directory_.string() +
        "' is damaged: chunks and embeddings do not match; restore it from a backup or ingest again");
  }
  further_.follow(rows, ids, space_.fingerprint);
  changed_ += removed.value_or(0) + dense_.size() - kept;
  revision_ = rows.revision();
}

/// This takes long for many rows, so it runs beside the searches and only the swaps shut them out.
void DerivedIndexes::compact(const RowSnapshot& rows) {
  if (auto sparse = further_.rebuilt_sparse(rows, space_.fingerprint)) {
    const std::unique_lock lock(mutex_);
    further_.replace_sparse(std::move(*sparse));
  }
  if (!dense_.needs_compaction()) return;
  HnswIndex fresh = dense_.compacted();
  const std::unique_lock lock(mutex_);
  dense_ = std::move(fresh);
}

void DerivedIndexes::save() {
  if (saved_ == revision_) return;
  write_index_file(path_of(IndexKind::kDense), {IndexKind::kDense, space_.fingerprint, revision_},
                   dense_.save());
  write_index_file(path_of(IndexKind::kKeyword), {IndexKind::kKeyword, space_.fingerprint, revision_},
                   keyword_.save());
  for (const IndexKind kind : kFurtherKinds) {
    if (kind == IndexKind::kImpact ? further_.sparse().has_value() : further_.late().has_value()) {
      write_index_file(path_of(kind), {kind, space_.fingerprint, revision_}, further_.save(kind));
    } else {
      std::error_code ignored;
      std::filesystem::remove(path_of(kind), ignored);  // of a head that the collection had before
    }
  }
  saved_ = revision_;
  changed_ = 0;
}

void DerivedIndexes::save_if_much_changed() {
  if (changed_ * 10 >= dense_.size()) save();
}

std::vector<Candidate> DerivedIndexes::search_dense(std::span<const float> query, std::size_t k,
                                                    const IdList* allowed) const {
  const std::shared_lock lock(mutex_);
  return dense_.search(query, k, allowed);
}

std::vector<Candidate> DerivedIndexes::search_keyword(const std::string& query, std::size_t k,
                                                      const IdList* allowed) const {
  const std::shared_lock lock(mutex_);
  return keyword_.search(query, k, allowed);
}

std::vector<Candidate> DerivedIndexes::search_sparse(const SparseVector& query, std::size_t k,
                                                     const IdList* allowed) const {
  const std::shared_lock lock(mutex_);
  return further_.sparse() ? further_.sparse()->search(query, k, allowed) : std::vector<Candidate>();
}

std::vector<Candidate> DerivedIndexes::search_late(const Matrix& query, std::size_t k,
                                                   const IdList* allowed) const {
  const std::shared_lock lock(mutex_);
  return further_.search_late(query, k, allowed);
}

std::vector<Candidate> DerivedIndexes::score_late(const Matrix& query, const IdList& ids) const {
  const std::shared_lock lock(mutex_);
  return further_.late() ? further_.late()->score(query, ids) : std::vector<Candidate>();
}

ExtraHeads DerivedIndexes::further_heads() const {
  const std::shared_lock lock(mutex_);
  return {further_.has(IndexKind::kImpact), further_.has(IndexKind::kTokens)};
}

std::vector<std::vector<TermScore>> DerivedIndexes::keyword_terms(const std::string& query,
                                                                  std::span<const std::int64_t> ids) const {
  const std::shared_lock lock(mutex_);
  return keyword_.term_scores(query, ids);
}

bool DerivedIndexes::empty() const {
  const std::shared_lock lock(mutex_);
  return dense_.size() == 0;
}

}  // namespace taesr
