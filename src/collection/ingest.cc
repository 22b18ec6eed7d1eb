#include "collection/ingest.h"

#include <algorithm>
#include <cmath>

#include "collection/document_rules.h"
#include "collection/passage_text.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

constexpr std::size_t kBatchChunks = 256;     // keeps an embedder busy without using much memory
constexpr std::size_t kBatchDocuments = 256;  // progress is shown even where little has to be embedded

void check_embeddings(const Embeddings& made, std::size_t texts, std::size_t dimension) {
  const Matrix& vectors = made.vectors;
  if (vectors.rows != texts || vectors.columns != dimension || vectors.values.size() != texts * dimension ||
      (!made.depths.empty() && made.depths.size() != texts)) {
    throw InvalidArgument("the embedder returned " + std::to_string(vectors.rows) + " x " +
                          std::to_string(vectors.columns) + " values for " + std::to_string(texts) +
                          " texts of " + std::to_string(dimension) + " dimensions");
  }
  for (std::size_t i = 0; i < texts; ++i) {
    double squares = 0;
    for (const float value : vectors.row(i)) squares += double{value} * value;
    if (!(std::abs(squares - 1) < 0.005)) {  // fails for NaN too
      throw InvalidArgument("the embedder returned a vector of length " + std::to_string(std::sqrt(squares)) +
                            "; embeddings must have length 1");
    }
  }
}

}  // namespace

AddReport Ingest::run(std::span<const Document> documents) {
  check_documents(documents);
  // Options out of range are refused before anything is stored.
  static_cast<void>(chunk_document({}, options_.chunking, [](const std::string&) { return std::size_t{0}; }));
  std::size_t unreported = 0;
  for (std::size_t i = 0; i < documents.size(); ++i) {
    prepare(documents[i]);
    ++unreported;
    const bool last = i + 1 == documents.size();
    if (!last && batch_chunks_ < kBatchChunks && unreported < kBatchDocuments) continue;
    embed();
    commit();
    unreported = 0;
    if (!report_progress(i + 1, documents.size())) break;
  }
  indexes_.save_if_much_changed();
  return report_;
}

void Ingest::prepare(const Document& document) {
  PreparedDocument prepared;
  prepared.content_hash = content_hash_of(document);
  const auto stored = store_.content_hash(document.id);
  if (stored == prepared.content_hash && !options_.replace) {
    ++report_.unchanged;
    return;
  }
  prepared.document = &document;
  prepared.properties = properties_of(document);
  prepared.chunks = chunk_document(document, options_.chunking,
                                   [this](const std::string& text) { return embedder_.count_tokens(text); });
  prepared.vectors = Matrix(prepared.chunks.size(), embedder_.dimension());
  batch_chunks_ += prepared.chunks.size();
  batch_updates_ += stored ? 1 : 0;
  batch_.push_back(std::move(prepared));
}

/// Embeds the batch's chunks, many at a time across documents.
void Ingest::embed() {
  struct Target {
    PreparedDocument* document;
    std::size_t chunk;
  };
  std::vector<Target> targets;
  for (PreparedDocument& prepared : batch_) {
    for (std::size_t i = 0; i < prepared.chunks.size(); ++i) targets.push_back({&prepared, i});
  }
  for (std::size_t begin = 0; begin < targets.size(); begin += kBatchChunks) {
    const auto slice = std::span(targets).subspan(begin, std::min(kBatchChunks, targets.size() - begin));
    std::vector<std::string> texts;
    for (const auto& [prepared, i] : slice) {
      const Chunk& chunk = prepared->chunks[i];
      texts.push_back(passage_text(prepared->document->title, chunk.section, chunk.text));
    }
    const Embeddings made = embedder_.embed_all(texts, Role::kPassage, options_.depth, heads_.heads());
    check_embeddings(made, texts.size(), embedder_.dimension());
    auto further = heads_.encode(made, texts.size());
    for (std::size_t row = 0; row < slice.size(); ++row) {
      PreparedDocument& prepared = *slice[row].document;
      std::ranges::copy(made.vectors.row(row), prepared.vectors.row(slice[row].chunk).begin());
      if (heads_.heads().any()) {
        prepared.heads.resize(prepared.chunks.size());
        prepared.heads[slice[row].chunk] = std::move(further[row]);
      }
      if (made.depths.empty()) continue;
      prepared.depths.resize(prepared.chunks.size());
      prepared.depths[slice[row].chunk] = made.depths[row];
    }
  }
}

void Ingest::commit() {
  if (batch_.empty()) return;
  store_.put(batch_);
  indexes_.catch_up(store_);
  report_.updated += batch_updates_;
  report_.added += batch_.size() - batch_updates_;
  report_.chunks += batch_chunks_;
  batch_.clear();
  batch_chunks_ = 0;
  batch_updates_ = 0;
}

bool Ingest::report_progress(std::size_t done, std::size_t total) const {
  return !options_.progress || options_.progress(done, total);
}

}  // namespace taesr
