#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <deque>
#include <map>
#include <unordered_set>

#include "collection/collection_files.h"
#include "collection/document_rules.h"
#include "collection/export_format.h"
#include "collection/late_codec.h"
#include "core/file.h"
#include "taesr/errors.h"
#include "taesr/maintenance.h"

namespace taesr {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kLargestManifest = 1 << 20;
constexpr std::size_t kBatchChunks = 1024;

/// A value of an object, with an error that says where it is missing or of another type.
template <typename Value>
Value get(const Json& object, const char* key, const std::string& where) {
  try {
    return object.at(key).get<Value>();
  } catch (const Json::exception&) {
    throw FormatError(where + ": '" + key + "' is missing or not of the type that it should be");
  }
}

std::size_t get_size(const Json& object, const char* key, const std::string& where) {
  const Json value = object.is_object() ? object.value(key, Json()) : Json();
  if (!value.is_number_unsigned() || value.get<std::uint64_t>() > (std::uint64_t{1} << 40))
    throw FormatError(where + ": '" + key + "' is missing or not a whole number from 0 on");
  return value.get<std::size_t>();
}

std::string_view text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

/// The objects of a file of JSON lines, one after the other.
class JsonLines {
 public:
  explicit JsonLines(const fs::path& path)
      : file_(path), name_(path.filename().string()), rest_(text_of(file_)) {}
  [[nodiscard]] bool at_end() const { return rest_.empty(); }
  [[nodiscard]] Json next() {
    ++line_;
    if (at_end()) throw FormatError(where() + ": the file ends too early");
    const std::size_t end = std::min(rest_.find('\n'), rest_.size());
    Json object = parse_json(rest_.substr(0, end), where());
    rest_.remove_prefix(std::min(end + 1, rest_.size()));
    if (!object.is_object()) throw FormatError(where() + ": not an object");
    return object;
  }
  [[nodiscard]] std::string where() const { return "'" + name_ + "', line " + std::to_string(line_); }

 private:
  MappedFile file_;
  std::string name_;
  std::string_view rest_;
  std::size_t line_ = 0;
};

/// The bytes of one head for each chunk, in order.
class HeadBytes {
 public:
  HeadBytes(const fs::path& folder, const std::string& head, std::size_t chunks)
      : values_file_(folder / (head + ".npy")), offsets_file_(folder / (head + "_offsets.npy")) {
    const auto bytes =
        npy_values(offsets_file_.bytes(), "<i8", 8, std::array{chunks + 1}, head + "_offsets.npy");
    offsets_.resize(chunks + 1);
    std::memcpy(offsets_.data(), bytes.data(), bytes.size());
    std::int64_t previous = 0;
    for (const std::int64_t offset : offsets_) {
      if (offset < previous) throw FormatError("'" + head + "_offsets.npy' does not ascend from 0");
      previous = offset;
    }
    const std::array extent{static_cast<std::size_t>(previous)};
    values_ = npy_values(values_file_.bytes(), "|u1", 1, extent, head + ".npy");
  }
  [[nodiscard]] std::vector<std::byte> of(std::size_t chunk) const {
    const auto begin = static_cast<std::size_t>(offsets_[chunk]);
    const auto part = values_.subspan(begin, static_cast<std::size_t>(offsets_[chunk + 1]) - begin);
    return {part.begin(), part.end()};
  }

 private:
  MappedFile values_file_;
  MappedFile offsets_file_;
  std::vector<std::int64_t> offsets_;
  std::span<const std::byte> values_;
};

/// What manifest.json says, after the files have been compared with it.
struct Manifest {
  explicit Manifest(const fs::path& folder) {
    const std::string where = "'" + (folder / kManifestFile).string() + "'";
    const Json json = parse_json(read_file(folder / kManifestFile, kLargestManifest), where);
    if (!json.is_object() || json.value("format", Json()) != kExportFormat)
      throw FormatError(where + ": not of an exported collection");
    if (json.value("version", Json()) != kExportVersion)
      throw VersionError(where + ": of another version than " + std::to_string(kExportVersion));
    space = {get<std::string>(json, "fingerprint", where), get_size(json, "dimension", where)};
    if (space.dimension == 0 || space.dimension > 1 << 20)
      throw FormatError(where + ": a dimension of " + std::to_string(space.dimension));
    documents = get_size(json, "documents", where);
    chunks = get_size(json, "chunks", where);
    heads = get<std::vector<std::string>>(json, "heads", where);
    verify(folder, kDocumentsFile, json, where);
    verify(folder, kChunksFile, json, where);
    for (const std::string& head : heads) {
      check_names(head, kFloat32Codec);
      verify(folder, head + ".npy", json, where);
      if (head != kDenseHead) verify(folder, head + "_offsets.npy", json, where);
    }
    read_codecs(folder, json, where);
  }

  VectorSpace space;
  std::size_t documents = 0;
  std::size_t chunks = 0;
  std::vector<std::string> heads;
  std::vector<StoredHead> codecs;  // of the heads that the collection keeps

 private:
  /// Exports of collections without further heads, and those of earlier builds, have none.
  void read_codecs(const fs::path& folder, const Json& json, const std::string& where) {
    const Json listed = json.value("codecs", Json::object());
    for (const auto& [name, each] : listed.items()) {
      const std::string file = name + "_codec.npy";
      StoredHead head{name, get<std::string>(each, "codec", where), get<bool>(each, "ready", where), {}};
      check_names(name, head.codec.empty() ? kFloat32Codec : head.codec);
      verify(folder, file, json, where);
      const MappedFile bytes(folder / file);
      const std::size_t size = bytes.bytes().size() - npy_header("|u1", std::array{std::size_t{0}}).size();
      const auto values = npy_values(bytes.bytes(), "|u1", 1, std::array{size}, file);
      head.parameters.assign(values.begin(), values.end());
      if (name == kLateHead) static_cast<void>(read_late_codec(head));
      codecs.push_back(std::move(head));
    }
  }

  static void verify(const fs::path& folder, const std::string& name, const Json& json,
                     const std::string& where) {
    const Json files = json.value("files", Json::object());
    if (!files.is_object() || !files.contains(name)) throw FormatError(where + ": does not list " + name);
    if (describe_file(folder / name) != files[name])
      throw ChecksumError("'" + (folder / name).string() +
                          "' is not the file that was exported: its size or " +
                          "checksum differs from manifest.json; export the collection again");
  }
};

class Importer {
 public:
  Importer(const fs::path& folder, const Manifest& manifest, DocumentStore& store)
      : manifest_(manifest),
        store_(store),
        documents_(folder / kDocumentsFile),
        chunks_(folder / kChunksFile),
        dense_file_(folder / "dense.npy"),
        dense_(npy_values(dense_file_.bytes(), "<f4", sizeof(float),
                          std::array{manifest.chunks, manifest.space.dimension}, "dense.npy")) {
    for (const std::string& head : manifest.heads) {
      if (head != kDenseHead) heads_.try_emplace(head, folder, head, manifest.chunks);
    }
  }

  TransferReport run(const TransferProgress& progress) {
    while (!documents_.at_end()) {
      read_document();
      if (batch_chunks_ < kBatchChunks && !documents_.at_end()) continue;
      commit();
      if (progress) progress(report_.documents, manifest_.documents);
    }
    if (report_.documents != manifest_.documents || report_.chunks != manifest_.chunks || !chunks_.at_end())
      throw FormatError("the files do not have the numbers of documents and chunks that manifest.json says");
    return report_;
  }

 private:
  void read_document() {
    const Json json = documents_.next();
    const std::string where = documents_.where();
    Document& document = texts_.emplace_back();
    document.id = get<std::string>(json, "id", where);
    document.title = get<std::string>(json, "title", where);
    document.text = get<std::string>(json, "text", where);
    document.source = get<std::string>(json, "source", where);
    document.metadata = get<Json>(json, "metadata", where).dump();
    document.content_hash = get<std::string>(json, "content_hash", where);
    for (const Json& section : get<Json>(json, "sections", where)) {
      document.sections.push_back({get<std::string>(section, "path", where),
                                   get_size(section, "begin", where), get_size(section, "end", where)});
    }
    check_documents(std::span(&document, 1));
    if (!ids_.insert(document.id).second)
      throw FormatError(where + ": id '" + document.id + "' is there twice");
    PreparedDocument& prepared = batch_.emplace_back();
    prepared.document = &document;
    prepared.content_hash = content_hash_of(document);
    prepared.properties = properties_of(document);
    const std::size_t count = get_size(json, "chunks", where);
    if (count > manifest_.chunks - report_.chunks) throw FormatError(where + ": more chunks than there are");
    prepared.vectors = Matrix(count, manifest_.space.dimension);
    for (std::size_t i = 0; i < count; ++i) read_chunk(prepared, i);
    batch_chunks_ += count;
    ++report_.documents;
  }

  void read_chunk(PreparedDocument& prepared, std::size_t i) {
    const Json json = chunks_.next();
    const std::string where = chunks_.where();
    const std::string& text = prepared.document->text;
    Chunk chunk{get<std::string>(json, "section", where), get<std::string>(json, "text", where),
                get_size(json, "begin", where), get_size(json, "end", where),
                get_size(json, "tokens", where)};
    const bool inside = chunk.begin <= chunk.end && chunk.end <= text.size();
    if (get<std::string>(json, "document", where) != prepared.document->id || !inside ||
        std::string_view(text).substr(chunk.begin, chunk.end - chunk.begin) != chunk.text) {
      throw FormatError(where + ": not the bytes " + std::to_string(chunk.begin) + " to " +
                        std::to_string(chunk.end) + " of document '" + prepared.document->id + "'");
    }
    prepared.chunks.push_back(std::move(chunk));
    read_vector(prepared.vectors.row(i), where);
    read_heads(prepared, get<Json>(json, "embeddings", where), where);
    ++report_.chunks;
  }

  void read_vector(std::span<float> row, const std::string& where) const {
    std::memcpy(row.data(), dense_.data() + report_.chunks * row.size_bytes(), row.size_bytes());
    double squares = 0;
    for (const float value : row) squares += double{value} * value;
    if (!(std::abs(squares - 1) < 0.01))  // fails for NaN too
      throw FormatError(where + ": row " + std::to_string(report_.chunks) +
                        " of dense.npy is not of length 1");
  }

  void read_heads(PreparedDocument& prepared, const Json& embeddings, const std::string& where) const {
    const auto depth_of = [&](const Json& json) { return static_cast<int>(get_size(json, "depth", where)); };
    prepared.depths.push_back(depth_of(get<Json>(embeddings, kDenseHead.data(), where)));
    auto& heads = prepared.heads.emplace_back();
    for (const auto& [name, bytes] : heads_) {
      if (!embeddings.contains(name)) continue;
      const Json& json = embeddings[name];
      heads.push_back(
          {name, get<std::string>(json, "codec", where), depth_of(json), bytes.of(report_.chunks)});
    }
  }

  void commit() {
    store_.put(batch_);
    batch_.clear();
    texts_.clear();
    batch_chunks_ = 0;
  }

  const Manifest& manifest_;
  DocumentStore& store_;
  JsonLines documents_;
  JsonLines chunks_;
  MappedFile dense_file_;
  std::span<const std::byte> dense_;
  std::map<std::string, HeadBytes> heads_;
  std::unordered_set<std::string> ids_;
  std::deque<Document> texts_;  // stay where they are: the batch points at them
  std::vector<PreparedDocument> batch_;
  std::size_t batch_chunks_ = 0;
  TransferReport report_;
};

}  // namespace

TransferReport import_collection(const fs::path& folder, const fs::path& directory,
                                 const TransferProgress& progress) {
  const Manifest manifest(folder);
  PendingFolder pending(directory);
  TransferReport report;
  {
    DocumentStore store(pending.path() / kDatabaseFile, DocumentStore::Access::kReadWrite, manifest.space);
    for (const StoredHead& head : manifest.codecs) store.put_head(head);
    report = Importer(folder, manifest, store).run(progress);
    DerivedIndexes indexes(pending.path(), manifest.space);
    indexes.rebuild(store);
    indexes.save();
  }
  pending.publish();
  return report;
}

}  // namespace taesr
