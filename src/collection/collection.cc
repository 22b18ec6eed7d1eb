#include "taesr/collection.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <mutex>
#include <system_error>
#include <utility>

#include "collection/collection_files.h"
#include "collection/derived_indexes.h"
#include "collection/document_rules.h"
#include "collection/head_writer.h"
#include "collection/ingest.h"
#include "store/document_store.h"
#include "store/snapshot_files.h"
#include "store/writer_lock.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

namespace fs = std::filesystem;

/// Makes sure that there is a directory with a collection in it, or one that may become one.
void prepare_directory(const fs::path& directory, const OpenOptions& options) {
  std::error_code error;
  const fs::file_status status = fs::status(directory, error);
  if (fs::exists(status) && !fs::is_directory(status)) {
    throw IoError("'" + directory.string() + "' is a file; a collection is a directory");
  }
  if (fs::exists(directory / kDatabaseFile, error)) return;
  if (options.read_only || !options.create) {
    const std::string reason = error ? " (" + error.message() + ")" : "";
    throw IoError("no collection in '" + directory.string() + "'" + reason +
                  "; check the path, or create it by " +
                  (options.read_only ? "opening it for writing" : "opening it with create"));
  }
  fs::create_directories(directory, error);
  if (error) throw IoError("cannot create the directory '" + directory.string() + "': " + error.message());
}

/// Files half written by a process that was killed. Nobody else writes here under the writer's lock.
void sweep_unfinished_files(const fs::path& directory) {
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(directory, error)) {
    if (entry.path().filename().string().find(".idx.tmp-") != std::string::npos)
      fs::remove(entry.path(), error);
  }
}

VectorSpace space_of(const Embedder* embedder) {
  if (embedder == nullptr) throw InvalidArgument("a collection needs an embedder; none was given");
  return {embedder->fingerprint(), embedder->dimension()};
}

/// `query` at length 1, so that scores are cosines.
std::vector<float> normalised(std::span<const float> query, std::size_t dimension) {
  if (query.empty() || query.size() > dimension) {
    throw InvalidArgument("a query vector of " + std::to_string(query.size()) + " values; 1 to " +
                          std::to_string(dimension) + " are allowed");
  }
  double squares = 0;
  for (const float value : query) squares += double{value} * value;
  if (!(squares > 0) || !std::isfinite(squares)) {
    throw InvalidArgument("a query vector that is zero or not finite has no direction");
  }
  std::vector<float> unit(query.begin(), query.end());
  for (float& value : unit) value = static_cast<float>(value / std::sqrt(squares));
  return unit;
}

IdList id_list(std::span<const std::int64_t> ids) {
  IdList list(ids.begin(), ids.end());
  std::sort(list.begin(), list.end());
  list.erase(std::unique(list.begin(), list.end()), list.end());
  return list;
}

}  // namespace

struct Collection::Impl {
  Impl(const fs::path& directory, std::shared_ptr<const Embedder> model, const OpenOptions& options);
  ~Impl();
  void require_writer() const;
  void settle_heads(const std::vector<std::string>& names);
  void require_head(const char* name) const;
  void refresh();
  void follow_removal();
  void compact_if_much_unused();
  [[nodiscard]] std::optional<IdList> allowed_by(const Filter& filter) const;

  fs::path directory;
  double compact_beyond;
  std::shared_ptr<const Embedder> embedder;
  std::unique_ptr<WriterLock> writer_lock;  // taken before the database is touched; none for readers
  DocumentStore store;
  DerivedIndexes indexes;
  mutable std::mutex notes_mutex;
  std::vector<std::string> notes;
  std::mutex change_mutex;                    // held by whoever changes the indexes
  std::atomic<std::int64_t> seen_version{0};  // of the data, by a reader
};

Collection::Impl::Impl(const fs::path& path, std::shared_ptr<const Embedder> model,
                       const OpenOptions& options)
    : directory(path),
      compact_beyond(options.compact_beyond),
      embedder(std::move(model)),
      writer_lock(options.read_only ? nullptr : std::make_unique<WriterLock>(directory / kLockFile)),
      store(directory / kDatabaseFile,
            options.read_only ? DocumentStore::Access::kReadOnly : DocumentStore::Access::kReadWrite,
            space_of(embedder.get())),
      indexes(directory, space_of(embedder.get()), {.compact_beyond = options.compact_beyond}) {
  seen_version = store.data_version();
  settle_heads(options.heads);
  notes = indexes.open(store);
  if (store.immutable()) {
    notes.push_back(
        "'" + directory.string() +
        "' cannot be written: opened as it is, and changes by others are not seen until it is reopened");
  }
  if (!writer_lock) return;
  sweep_unfinished_files(directory);
  if (notes.empty()) return;
  try {
    indexes.save();
  } catch (const IoError& error) {
    notes.push_back(std::string(error.what()) + ": the rebuilt indexes are in memory only");
  }
}

Collection::Impl::~Impl() {
  if (!writer_lock) return;
  try {
    indexes.save();
  } catch (const std::exception&) {
    // The rows are stored; the next opening finds the index files old and brings them up to date.
  }
}

void Collection::Impl::require_writer() const {
  if (!writer_lock)
    throw InvalidArgument("the collection is open read-only; open it for writing to change it");
}

/// A collection without content takes the heads asked for; another one must have them.
void Collection::Impl::settle_heads(const std::vector<std::string>& names) {
  const ExtraHeads asked = parse_heads(names);
  const std::string where = "the collection '" + directory.string() + "'";
  if (writer_lock && store.chunk_count() == 0 && asked.any()) {
    require_heads(*embedder, asked, "heads are asked for");
    static_cast<void>(add_missing_heads(store, *embedder, asked, {}));
  }
  const ExtraHeads there = heads_of(store);
  require_heads(*embedder, there, where + " has further heads");
  for (const std::string& name : names_of({asked.sparse && !there.sparse, asked.late && !there.late})) {
    throw InvalidArgument(where + " has no " + name + " head; add it with add_heads (taesr ingest --heads " +
                          name + "), which embeds its chunks again");
  }
}

void Collection::Impl::require_head(const char* name) const {
  const std::string asked[] = {name};
  const ExtraHeads wanted = parse_heads(asked);
  const ExtraHeads there = indexes.further_heads();
  if ((!wanted.sparse || there.sparse) && (!wanted.late || there.late)) return;
  throw InvalidArgument("the collection '" + directory.string() + "' has no " + name +
                        " head; add it with add_heads (taesr ingest --heads " + name +
                        "), for which the model needs one, or search by other heads");
}

void Collection::Impl::follow_removal() {
  indexes.catch_up(store);
  indexes.save_if_much_changed();
  compact_if_much_unused();
}

/// The change itself is stored: where there is no room to compact, that is said and nothing more.
void Collection::Impl::compact_if_much_unused() {
  if (compact_beyond >= 1 || store.unused_share() <= compact_beyond) return;
  try {
    store.vacuum();
  } catch (const IoError& error) {
    const std::lock_guard lock(notes_mutex);
    notes.push_back(std::string(error.what()) + ": not compacted");
  }
}

/// Lets a reader see what other processes have committed.
void Collection::Impl::refresh() {
  if (writer_lock || store.immutable()) return;
  const std::int64_t version = store.data_version();
  if (version == seen_version) return;
  const std::unique_lock lock(change_mutex, std::try_to_lock);
  if (!lock) return;  // another thread is at it: this search sees the state before
  indexes.catch_up(store);
  seen_version = version;
}

std::optional<IdList> Collection::Impl::allowed_by(const Filter& filter) const {
  if (filter.empty()) return std::nullopt;
  check_filter(filter);
  return store.chunks_matching(filter);
}

Collection Collection::open(const fs::path& directory, std::shared_ptr<const Embedder> embedder,
                            const OpenOptions& options) {
  static_cast<void>(space_of(embedder.get()));  // refuses a missing embedder before anything is created
  if (!(options.compact_beyond >= 0 && options.compact_beyond <= 1)) {
    throw InvalidArgument("compact_beyond is " + std::to_string(options.compact_beyond) +
                          "; a share from 0 to 1 is allowed");
  }
  prepare_directory(directory, options);
  return Collection(std::make_unique<Impl>(directory, std::move(embedder), options));
}

Collection::Collection(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Collection::~Collection() = default;
Collection::Collection(Collection&&) noexcept = default;
Collection& Collection::operator=(Collection&&) noexcept = default;

AddReport Collection::add(std::span<const Document> documents, const AddOptions& options) {
  impl_->require_writer();
  const std::lock_guard lock(impl_->change_mutex);
  const AddReport report = Ingest(impl_->store, impl_->indexes, *impl_->embedder, options).run(documents);
  impl_->compact_if_much_unused();
  return report;
}

std::size_t Collection::add_heads(std::span<const std::string> heads, const AddOptions& options) {
  impl_->require_writer();
  const ExtraHeads asked = parse_heads(heads);
  require_heads(*impl_->embedder, asked, "heads are asked for");
  const std::lock_guard lock(impl_->change_mutex);
  const ExtraHeads there = heads_of(impl_->store);
  const ExtraHeads missing{asked.sparse && !there.sparse, asked.late && !there.late};
  if (!missing.any()) return 0;
  const std::size_t embedded = add_missing_heads(impl_->store, *impl_->embedder, missing, options);
  impl_->indexes.catch_up(impl_->store);
  impl_->indexes.save();
  return embedded;
}

std::size_t Collection::remove(std::span<const std::string> ids) {
  impl_->require_writer();
  const std::lock_guard lock(impl_->change_mutex);
  const std::size_t removed = impl_->store.remove(ids);
  impl_->follow_removal();
  return removed;
}

std::size_t Collection::remove_matching(const Filter& filter) {
  impl_->require_writer();
  check_filter_for_removal(filter);
  const std::lock_guard lock(impl_->change_mutex);
  const std::size_t removed = impl_->store.remove_matching(filter);
  impl_->follow_removal();
  return removed;
}

bool Collection::update_metadata(const std::string& id, const std::string& metadata) {
  impl_->require_writer();
  const std::lock_guard lock(impl_->change_mutex);
  auto document = impl_->store.document(id);
  if (!document) return false;
  // A hash that was made from the content, and not given, has to follow it.
  const std::string given = std::exchange(document->content_hash, "");
  const bool made = content_hash_of(*document) == given;
  document->metadata = metadata;
  check_documents(std::span(&*document, 1));
  PreparedDocument prepared;
  prepared.document = &*document;
  prepared.content_hash = made ? content_hash_of(*document) : given;
  prepared.properties = properties_of(*document);
  const bool updated = impl_->store.update_metadata(prepared);
  impl_->indexes.catch_up(impl_->store);
  return updated;
}

CompactReport Collection::compact() {
  impl_->require_writer();
  const std::lock_guard lock(impl_->change_mutex);
  return compact_files(impl_->directory, impl_->store, impl_->indexes);
}

Snapshot Collection::create_snapshot(std::size_t keep) const {
  const auto connection = impl_->store.connection();
  return SnapshotFiles(impl_->directory).create(*connection, keep);
}

std::vector<Snapshot> Collection::snapshots() const { return SnapshotFiles(impl_->directory).list(); }

Snapshot Collection::restore_snapshot(const std::string& name) {
  impl_->require_writer();
  const std::lock_guard lock(impl_->change_mutex);
  const SnapshotFiles files(impl_->directory);
  const Snapshot snapshot = files.find(name);
  const fs::path file = files.verified_file(snapshot);
  static_cast<void>(create_snapshot());
  impl_->store.replace_with(file);
  impl_->indexes.catch_up(impl_->store);
  impl_->indexes.save();
  return snapshot;
}

std::vector<Candidate> Collection::search_dense(std::span<const float> query, std::size_t k,
                                                const Filter& filter) const {
  const std::vector<float> unit = normalised(query, impl_->embedder->dimension());
  impl_->refresh();
  const auto allowed = impl_->allowed_by(filter);
  return impl_->indexes.search_dense(unit, k, allowed ? &*allowed : nullptr);
}

std::vector<Candidate> Collection::search_keyword(const std::string& query, std::size_t k,
                                                  const Filter& filter) const {
  impl_->refresh();
  const auto allowed = impl_->allowed_by(filter);
  return impl_->indexes.search_keyword(query, k, allowed ? &*allowed : nullptr);
}

std::vector<Candidate> Collection::search_sparse(const SparseVector& query, std::size_t k,
                                                 const Filter& filter) const {
  impl_->refresh();
  impl_->require_head("sparse");
  const auto allowed = impl_->allowed_by(filter);
  return impl_->indexes.search_sparse(query, k, allowed ? &*allowed : nullptr);
}

std::vector<Candidate> Collection::search_late(const Matrix& query, std::size_t k,
                                               const Filter& filter) const {
  impl_->refresh();
  impl_->require_head("late");
  const auto allowed = impl_->allowed_by(filter);
  return impl_->indexes.search_late(query, k, allowed ? &*allowed : nullptr);
}

std::vector<Candidate> Collection::score_sparse(const SparseVector& query,
                                                std::span<const std::int64_t> ids) const {
  impl_->require_head("sparse");
  const IdList chosen = id_list(ids);
  return impl_->indexes.search_sparse(query, chosen.size(), &chosen);
}

std::vector<Candidate> Collection::score_late(const Matrix& query, std::span<const std::int64_t> ids) const {
  impl_->require_head("late");
  return query.rows == 0 ? std::vector<Candidate>() : impl_->indexes.score_late(query, id_list(ids));
}

std::vector<std::string> Collection::heads() const {
  impl_->refresh();
  std::vector<std::string> names = {"dense", "keyword"};
  for (std::string& name : names_of(impl_->indexes.further_heads())) names.push_back(std::move(name));
  return names;
}

std::vector<std::vector<TermScore>> Collection::keyword_terms(const std::string& query,
                                                              std::span<const std::int64_t> ids) const {
  return impl_->indexes.keyword_terms(query, ids);
}

Embeddings Collection::embeddings(std::span<const std::int64_t> ids) const {
  return impl_->store.dense_embeddings(ids);
}

std::vector<StoredChunk> Collection::chunks(std::span<const std::int64_t> ids) const {
  return impl_->store.chunks(ids);
}

std::vector<DocumentInfo> Collection::documents() const { return impl_->store.documents(); }

std::optional<Document> Collection::document(const std::string& id) const {
  return impl_->store.document(id);
}

std::size_t Collection::document_count() const { return impl_->store.document_count(); }

std::size_t Collection::chunk_count() const { return impl_->store.chunk_count(); }

const Embedder& Collection::embedder() const { return *impl_->embedder; }

std::vector<std::string> Collection::notes() const {
  const std::lock_guard lock(impl_->notes_mutex);
  return impl_->notes;
}

}  // namespace taesr
