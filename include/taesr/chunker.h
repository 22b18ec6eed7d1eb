#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "taesr/document.h"
#include "taesr/export.h"

namespace taesr {

/// How documents are cut. Sizes are tokens of the embedder that the chunks are for.
struct ChunkOptions {
  std::size_t max_tokens = 250;  // 200 to 800; a chunk is never longer
  std::size_t overlap = 50;      // 50 to 100; repeated between neighbours of one section, in whole sentences
};

/// Cuts a document into chunks at paragraph ends, then sentence ends, then words; never across a
/// section border except to join sections too short to stand alone (their paths' common parent is kept).
///
/// Every byte of `document.text` that is not white space lies in at least one chunk.
/// `count_tokens` is called on sentences. Throws InvalidArgument for options out of range and for
/// text that is not valid UTF-8.
[[nodiscard]] TAESR_API std::vector<Chunk> chunk_document(
    const Document& document, const ChunkOptions& options,
    const std::function<std::size_t(const std::string&)>& count_tokens);

/// Byte ranges [begin, end) of the sentences of `text`, in order; white space between them belongs to none.
struct TextSpan {
  std::size_t begin = 0;
  std::size_t end = 0;
};
[[nodiscard]] TAESR_API std::vector<TextSpan> split_sentences(const std::string& text);

}  // namespace taesr
