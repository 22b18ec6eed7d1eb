#include <array>
#include <map>
#include <memory>

#include "collection/collection_files.h"
#include "collection/export_format.h"
#include "store/durable_file.h"
#include "store/row_snapshot.h"
#include "taesr/errors.h"
#include "taesr/maintenance.h"

namespace taesr {
namespace {

namespace fs = std::filesystem;

/// The bytes of one head, end to end, and where each chunk's begin.
class HeadFiles {
 public:
  HeadFiles(const fs::path& folder, const RowSnapshot::HeadSize& size, std::size_t chunks)
      : values_(folder / (size.head + ".npy")), offsets_(folder / (size.head + "_offsets.npy")) {
    const auto bytes = static_cast<std::size_t>(size.bytes);
    values_.write(npy_header("|u1", std::array{bytes}));
    offsets_.write(npy_header("<i8", std::array{chunks + 1}));
    put_offset();
  }
  /// Nothing for a chunk without an embedding of this head.
  void write(std::span<const std::byte> data) {
    values_.write(data);
    offset_ += static_cast<std::int64_t>(data.size());
    put_offset();
  }
  void finish() {
    values_.finish();
    offsets_.finish();
  }

 private:
  void put_offset() { offsets_.write(std::as_bytes(std::span(&offset_, 1))); }

  OutputFile values_;
  OutputFile offsets_;
  std::int64_t offset_ = 0;
};

class Exporter {
 public:
  Exporter(const RowSnapshot& rows, const VectorSpace& space, const fs::path& folder)
      : rows_(rows),
        space_(space),
        folder_(folder),
        chunk_count_(static_cast<std::size_t>(rows.query_integer("SELECT count(*) FROM chunks"))),
        documents_(folder / kDocumentsFile),
        chunks_(folder / kChunksFile),
        dense_(folder / (std::string(kDenseHead) + ".npy")) {
    dense_.write(npy_header("<f4", std::array{chunk_count_, space.dimension}));
    for (const RowSnapshot::HeadSize& size : rows.head_sizes(space.fingerprint)) {
      check_names(size.head, kFloat32Codec);
      if (size.head != kDenseHead)
        heads_.emplace(size.head, std::make_unique<HeadFiles>(folder, size, chunk_count_));
    }
  }

  TransferReport run(const TransferProgress& progress) {
    const auto total = static_cast<std::size_t>(rows_.query_integer("SELECT count(*) FROM documents"));
    rows_.for_each_document([&](std::int64_t number, const Document& document) {
      write_document(number, document);
      if (progress && (++report_.documents % 256 == 0 || report_.documents == total))
        progress(report_.documents, total);
      else if (!progress)
        ++report_.documents;
    });
    finish();
    return report_;
  }

 private:
  void write_document(std::int64_t number, const Document& document) {
    const std::string where = "document '" + document.id + "'";
    const auto chunks = rows_.chunks_of(number);
    Json sections = Json::array();
    for (const Section& section : document.sections)
      sections.push_back({{"path", section.path}, {"begin", section.begin}, {"end", section.end}});
    documents_.write(to_line({{"id", document.id},
                              {"title", document.title},
                              {"text", document.text},
                              {"source", document.source},
                              {"metadata", parse_json(document.metadata, where + ": metadata")},
                              {"content_hash", document.content_hash},
                              {"sections", std::move(sections)},
                              {"chunks", chunks.size()}},
                             where));
    for (const auto& [id, chunk] : chunks) write_chunk(document.id, id, chunk);
    report_.chunks += chunks.size();
  }

  void write_chunk(const std::string& document, std::int64_t id, const Chunk& chunk) {
    const std::string where = "chunk " + std::to_string(id) + " of document '" + document + "'";
    Json embeddings = Json::object();
    std::map<std::string, std::vector<std::byte>> data;
    for (HeadEmbedding& embedding : rows_.embeddings_of(id, space_.fingerprint)) {
      embeddings[embedding.head] = {{"codec", embedding.codec}, {"depth", embedding.depth}};
      data[embedding.head] = std::move(embedding.data);
    }
    const auto& dense = data[std::string(kDenseHead)];
    if (dense.size() != space_.dimension * sizeof(float))
      throw FormatError(where + " has no dense embedding; check the collection and restore a snapshot");
    dense_.write(dense);
    for (const auto& [head, files] : heads_) files->write(data[head]);
    chunks_.write(to_line({{"document", document},
                           {"section", chunk.section},
                           {"text", chunk.text},
                           {"begin", chunk.begin},
                           {"end", chunk.end},
                           {"tokens", chunk.tokens},
                           {"embeddings", std::move(embeddings)}},
                          where));
  }

  void write_codec(const StoredHead& head) {
    OutputFile file(folder_ / (head.name + "_codec.npy"));
    file.write(npy_header("|u1", std::array{head.parameters.size()}));
    file.write(head.parameters);
    file.finish();
  }

  void finish() {
    Json files = Json::object();
    const auto describe = [&](const std::string& name) { files[name] = describe_file(folder_ / name); };
    documents_.finish();
    chunks_.finish();
    dense_.finish();
    describe(kDocumentsFile);
    describe(kChunksFile);
    describe(std::string(kDenseHead) + ".npy");
    Json heads = Json::array({kDenseHead});
    for (const auto& [head, writer] : heads_) {
      writer->finish();
      describe(head + ".npy");
      describe(head + "_offsets.npy");
      heads.push_back(head);
    }
    Json codecs = Json::object();
    for (const StoredHead& head : rows_.heads(true)) {
      write_codec(head);
      describe(head.name + "_codec.npy");
      codecs[head.name] = {{"codec", head.codec}, {"ready", head.ready}};
    }
    const Json manifest = {{"format", kExportFormat},
                           {"version", kExportVersion},
                           {"fingerprint", space_.fingerprint},
                           {"dimension", space_.dimension},
                           {"generation", rows_.revision().generation},
                           {"documents", report_.documents},
                           {"chunks", report_.chunks},
                           {"heads", std::move(heads)},
                           {"codecs", std::move(codecs)},
                           {"files", std::move(files)}};
    OutputFile file(folder_ / kManifestFile);
    file.write(manifest.dump(2) + "\n");
    file.finish();
  }

  const RowSnapshot& rows_;
  const VectorSpace& space_;
  fs::path folder_;
  std::size_t chunk_count_;
  OutputFile documents_;
  OutputFile chunks_;
  OutputFile dense_;
  std::map<std::string, std::unique_ptr<HeadFiles>> heads_;
  TransferReport report_;
};

}  // namespace

TransferReport export_collection(const fs::path& directory, const fs::path& folder,
                                 const TransferProgress& progress) {
  require_collection(directory);
  const VectorSpace space = stored_space(directory / kDatabaseFile);
  const DocumentStore store(directory / kDatabaseFile, DocumentStore::Access::kReadOnly, space);
  const RowSnapshot rows(store);
  PendingFolder pending(folder);
  const TransferReport report = Exporter(rows, space, pending.path()).run(progress);
  pending.publish();
  return report;
}

}  // namespace taesr
