#include "collection/derived_indexes.h"

#include <algorithm>
#include <mutex>

#include "collection/passage_text.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

/// Removes from `index` what the rows no longer have and returns how much that was. Nothing when the
/// index lacks rows that it ought to have: it is not of these rows.
template <typename Index>
std::optional<std::size_t> drop_removed(Index& index, const IdList& rows) {
  const IdList known = index.live_ids();
  IdList removed;
  std::set_difference(known.begin(), known.end(), rows.begin(), rows.end(), std::back_inserter(removed));
  const auto old_rows = std::upper_bound(rows.begin(), rows.end(), index.last_id()) - rows.begin();
  if (known.size() - removed.size() != static_cast<std::size_t>(old_rows)) return std::nullopt;
  if (!removed.empty()) index.remove(removed);
  return removed.size();
}

}  // namespace

DerivedIndexes::DerivedIndexes(std::filesystem::path directory, VectorSpace space)
    : directory_(std::move(directory)), space_(std::move(space)), dense_(space_.dimension) {}

std::filesystem::path DerivedIndexes::path_of(IndexKind kind) const {
  return directory_ / (kind == IndexKind::kDense ? "dense.idx" : "keyword.idx");
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
    dense_ = HnswIndex::load(file, space_.dimension);
  });
  const auto keyword = load_file(IndexKind::kKeyword, store,
                                 [&](const IndexFile& file) { keyword_ = KeywordIndex::load(file); });
  follow(RowSnapshot(store));
  compact();
  if (!dense && !keyword && changed_ == 0) saved_ = revision_;
  std::vector<std::string> notes;
  if (empty()) return notes;  // what is missing holds nothing
  for (const auto& note : {dense, keyword}) {
    if (note) notes.push_back(*note);
  }
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
  compact();
}

void DerivedIndexes::rebuild(const DocumentStore& store) {
  DerivedIndexes fresh(directory_, space_);
  fresh.follow(RowSnapshot(store));
  const std::unique_lock lock(mutex_);
  dense_ = std::move(fresh.dense_);
  keyword_ = std::move(fresh.keyword_);
  revision_ = fresh.revision_;
  saved_.reset();
}

void DerivedIndexes::follow(const RowSnapshot& rows) {
  const IdList ids = rows.chunk_ids();
  const std::unique_lock lock(mutex_);
  const auto removed = drop_removed(dense_, ids);
  if (!removed) dense_ = HnswIndex(space_.dimension);
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
  changed_ += removed.value_or(0) + dense_.size() - kept;
  revision_ = rows.revision();
}

/// Linking takes long for many rows, so it runs beside the searches and only the swap shuts them out.
void DerivedIndexes::compact() {
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
