#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "collection/late_codec.h"
#include "store/document_store.h"
#include "taesr/collection.h"
#include "taesr/embedder.h"

namespace taesr {

/// Throws InvalidArgument unless all are names of heads: "dense", "keyword", "sparse" or "late".
[[nodiscard]] ExtraHeads parse_heads(std::span<const std::string> names);

/// "sparse" and "late", those of them that there are.
[[nodiscard]] std::vector<std::string> names_of(const ExtraHeads& heads);

/// The further heads of a collection; without `pending` not those still being added.
[[nodiscard]] ExtraHeads heads_of(const DocumentStore& store, bool pending = false);

/// Throws InvalidArgument, with `what`, when the embedder lacks one of the heads.
void require_heads(const Embedder& embedder, const ExtraHeads& heads, const std::string& what);

/// Makes rows of what further heads said about texts. The late head's codec is fitted to the first texts
/// that have tokens, and stored before rows that need it.
class HeadWriter {
 public:
  HeadWriter(DocumentStore& store, ExtraHeads heads);

  [[nodiscard]] const ExtraHeads& heads() const { return heads_; }
  /// By text. Throws InvalidArgument for embeddings that cannot be of that many texts.
  [[nodiscard]] std::vector<std::vector<HeadEmbedding>> encode(const Embeddings& made, std::size_t texts);

 private:
  [[nodiscard]] HeadEmbedding encode_tokens(const Matrix& tokens, int depth) const;

  DocumentStore& store_;
  ExtraHeads heads_;
  bool late_ready_ = true;
  std::optional<LateCodec> late_;  // once fitted
};

/// Embeds chunks for heads that they lack, a batch a transaction, and then records the heads as the
/// collection's own; returns how many chunks were embedded. What was interrupted goes on where it stopped.
[[nodiscard]] std::size_t add_missing_heads(DocumentStore& store, const Embedder& embedder,
                                            const ExtraHeads& heads, const AddOptions& options);

}  // namespace taesr
