#include "collection/head_writer.h"

#include <algorithm>
#include <cmath>

#include "collection/passage_text.h"
#include "index/sparse_codec.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

constexpr std::size_t kBatchChunks = 256;  // as when documents are added

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : " and ") + name;
  return text.empty() ? "neither sparse nor late" : text;
}

/// All token vectors of some texts, one below the other.
Matrix stacked(std::span<const Matrix> texts) {
  Matrix all;
  for (const Matrix& tokens : texts) {
    if (tokens.rows == 0) continue;
    all.rows += tokens.rows;
    all.columns = tokens.columns;
    all.values.insert(all.values.end(), tokens.values.begin(), tokens.values.end());
  }
  return all;
}

void check_tokens(const Matrix& tokens, std::size_t columns) {
  if (tokens.rows > 0 && (tokens.columns != columns || tokens.values.size() != tokens.rows * columns)) {
    throw InvalidArgument("the embedder returned token vectors of " + std::to_string(tokens.columns) +
                          " values; those before had " + std::to_string(columns));
  }
  for (std::size_t i = 0; i < tokens.rows; ++i) {
    double squares = 0;
    for (const float value : tokens.row(i)) squares += double{value} * value;
    if (std::abs(squares - 1) < 0.01) continue;  // false for NaN
    throw InvalidArgument("the embedder returned a token vector of length " +
                          std::to_string(std::sqrt(squares)) + "; token vectors must have length 1");
  }
}

}  // namespace

ExtraHeads parse_heads(std::span<const std::string> names) {
  ExtraHeads heads;
  for (const std::string& name : names) {
    if (name == kSparseHead) heads.sparse = true;
    else if (name == kLateHead) heads.late = true;
    else if (name != kDenseHead && name != "keyword")
      throw InvalidArgument("head '" + name.substr(0, 60) + "'; it must be dense, keyword, sparse or late");
  }
  return heads;
}

std::vector<std::string> names_of(const ExtraHeads& heads) {
  std::vector<std::string> names;
  if (heads.late) names.emplace_back(kLateHead);
  if (heads.sparse) names.emplace_back(kSparseHead);
  return names;
}

ExtraHeads heads_of(const DocumentStore& store, bool pending) {
  ExtraHeads heads;
  for (const StoredHead& head : store.heads()) {
    if (!head.ready && !pending) continue;
    heads.sparse = heads.sparse || head.name == kSparseHead;
    heads.late = heads.late || head.name == kLateHead;
  }
  return heads;
}

void require_heads(const Embedder& embedder, const ExtraHeads& heads, const std::string& what) {
  const ExtraHeads known = embedder.extra_heads();
  ExtraHeads missing{heads.sparse && !known.sparse, heads.late && !known.late};
  if (!missing.any()) return;
  throw InvalidArgument(what + ", but the model has no " + joined(names_of(missing)) +
                        " head; use a model that was trained with one, or leave it out");
}

HeadWriter::HeadWriter(DocumentStore& store, ExtraHeads heads) : store_(store), heads_(heads) {
  for (const StoredHead& head : store.heads()) {
    if (head.name != kLateHead) continue;
    late_ready_ = head.ready;
    late_ = read_late_codec(head);
  }
}

std::vector<std::vector<HeadEmbedding>> HeadWriter::encode(const Embeddings& made, std::size_t texts) {
  if ((heads_.sparse && made.sparse.size() != texts) || (heads_.late && made.late.size() != texts)) {
    throw InvalidArgument("the embedder returned " + std::to_string(made.sparse.size()) + " sparse and " +
                          std::to_string(made.late.size()) + " late embeddings for " +
                          std::to_string(texts) + " texts");
  }
  if (heads_.late) {
    const Matrix sample = late_ ? Matrix() : stacked(made.late);
    const std::size_t columns = late_ ? late_->codec.dimension() : sample.columns;
    for (const Matrix& tokens : made.late) check_tokens(tokens, columns);
    if (sample.rows > 0) {
      late_ = fit_late_codec(sample, 1);
      store_.put_head(late_->to_row(late_ready_));
    }
  }
  std::vector<std::vector<HeadEmbedding>> rows(texts);
  for (std::size_t i = 0; i < texts; ++i) {
    const int depth = made.depths.empty() ? 0 : made.depths[i];
    if (heads_.late) rows[i].push_back(encode_tokens(made.late[i], depth));
    if (heads_.sparse) {
      rows[i].push_back(
          {std::string(kSparseHead), std::string(kSparseCodec), depth, encode_sparse(made.sparse[i])});
    }
  }
  return rows;
}

HeadEmbedding HeadWriter::encode_tokens(const Matrix& tokens, int depth) const {
  HeadEmbedding row{std::string(kLateHead), late_ ? late_->name() : "none", depth, {}};
  if (tokens.rows == 0) return row;
  const std::vector<std::uint8_t> codes = late_->codec.encode(tokens);
  const auto bytes = std::as_bytes(std::span(codes));
  row.data.assign(bytes.begin(), bytes.end());
  return row;
}

std::size_t add_missing_heads(DocumentStore& store, const Embedder& embedder, const ExtraHeads& heads,
                              const AddOptions& options) {
  const std::vector<std::string> names = names_of(heads);
  std::vector<StoredHead> stored = store.heads();
  for (const std::string& name : names) {
    if (std::ranges::find(stored, name, &StoredHead::name) != stored.end()) continue;
    store.start_head({name, name == kSparseHead ? std::string(kSparseCodec) : "", false, {}});
  }
  HeadWriter writer(store, heads);
  const std::vector<std::int64_t> missing = store.chunks_without(names);
  for (std::size_t begin = 0; begin < missing.size(); begin += kBatchChunks) {
    const std::size_t count = std::min(kBatchChunks, missing.size() - begin);
    std::vector<std::string> texts;
    for (const StoredChunk& row : store.chunks(std::span(missing).subspan(begin, count))) {
      texts.push_back(passage_text(row.title, row.chunk.section, row.chunk.text));
    }
    auto made = writer.encode(embedder.embed_all(texts, Role::kPassage, options.depth, heads), texts.size());
    std::vector<ChunkEmbedding> rows;
    for (std::size_t i = 0; i < count; ++i) {
      for (HeadEmbedding& embedding : made[i]) rows.push_back({missing[begin + i], std::move(embedding)});
    }
    store.put_embeddings(rows);
    const bool last = begin + count == missing.size();
    if (options.progress && !options.progress(begin + count, missing.size()) && !last) return begin + count;
  }
  for (StoredHead& head : store.heads()) {
    if (head.ready || std::ranges::find(names, head.name) == names.end()) continue;
    head.ready = true;
    store.put_head(head);
  }
  return missing.size();
}

}  // namespace taesr
