#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "collection/derived_indexes.h"
#include "collection/head_writer.h"
#include "store/document_store.h"
#include "taesr/collection.h"
#include "taesr/embedder.h"

namespace taesr {

/// One `Collection::add`: chunks, embeds and stores documents a batch at a time.
class Ingest {
 public:
  Ingest(DocumentStore& store, DerivedIndexes& indexes, const Embedder& embedder, const AddOptions& options)
      : store_(store),
        indexes_(indexes),
        embedder_(embedder),
        options_(options),
        heads_(store, heads_of(store)) {}

  /// Each batch is one transaction. When this throws, the batches before stay.
  [[nodiscard]] AddReport run(std::span<const Document> documents);

 private:
  void prepare(const Document& document);
  void embed();
  void commit();
  [[nodiscard]] bool report_progress(std::size_t done, std::size_t total) const;

  DocumentStore& store_;
  DerivedIndexes& indexes_;
  const Embedder& embedder_;
  const AddOptions& options_;
  HeadWriter heads_;
  AddReport report_;
  std::vector<PreparedDocument> batch_;
  std::size_t batch_chunks_ = 0;
  std::size_t batch_updates_ = 0;  // documents of the batch that replace others
};

}  // namespace taesr
