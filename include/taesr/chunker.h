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
  std::size_t max_tokens = 220;  // 200 to 800, never exceeded; 220 and a heading fit one pass of the default model
  std::size_t overlap = 50;      // 50 to 100; see chunk_document
};

/// Cuts a document into chunks, in the order of its text: at paragraph ends where the chunk is at
/// least half full, else at sentence ends. Only a sentence longer than max_tokens is cut further, at
/// line ends, then between words, then between code points.
///
/// - Every byte of `document.text` that is not white space (Unicode's White_Space) lies in a chunk,
///   and `tokens` of each is `count_tokens` of its own text, at most max_tokens.
/// - A chunk repeats the last sentences of the one before it in the same section: as few as make
///   `overlap` tokens, fewer where a further sentence would make more than 100 tokens or leave no room
///   for a new one.
/// - Section borders end chunks, except that sections of less than a quarter of max_tokens are joined
///   with neighbours; a chunk over several sections has the path that theirs have in common.
///   Text between sections counts as a section without a path.
///
/// `count_tokens` should be nearly additive over sentences, as tokenizers are; it is called with
/// pieces of at most 16 * max_tokens bytes and with chunks, and sees each byte two to four times.
/// Throws InvalidArgument for options out of range, for text that is not valid UTF-8, and for
/// sections that overlap, descend or cut a character; exceptions of `count_tokens` pass through.
[[nodiscard]] TAESR_API std::vector<Chunk> chunk_document(
    const Document& document, const ChunkOptions& options,
    const std::function<std::size_t(const std::string&)>& count_tokens);

/// A stretch of text: bytes [begin, end).
struct TextSpan {
  std::size_t begin = 0;
  std::size_t end = 0;
};

/// The sentences of `text`, in order; white space between them belongs to none.
///
/// Markdown headings and table rows, fenced blocks of code and lines indented by four columns are
/// sentences of their own, list items begin one, and other single line breaks are blanks. Full stops in
/// abbreviations, initials, numbers, versions and addresses end none. Throws InvalidArgument for text
/// that is not valid UTF-8.
[[nodiscard]] TAESR_API std::vector<TextSpan> split_sentences(const std::string& text);

}  // namespace taesr
