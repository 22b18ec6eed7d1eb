#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "quoted.h"
#include "register.h"
#include "taesr/chunker.h"
#include "taesr/document.h"
#include "taesr/errors.h"

namespace py = pybind11;

namespace taesr {
namespace {

/// Runs of characters other than ASCII white space.
std::size_t count_words(const std::string& text) {
  std::size_t words = 0;
  bool inside = false;
  for (const char c : text) {
    const bool space = c == ' ' || (c >= '\t' && c <= '\r');
    if (!space && !inside) ++words;
    inside = !space;
  }
  return words;
}

std::vector<Chunk> chunk(const Document& document, const ChunkOptions& options,
                         const std::optional<py::function>& count_tokens) {
  if (!count_tokens) {
    const py::gil_scoped_release release;
    return chunk_document(document, options, count_words);
  }
  return chunk_document(document, options, [&](const std::string& text) {
    const py::object tokens = (*count_tokens)(text);
    try {
      return tokens.cast<std::size_t>();
    } catch (const py::cast_error&) {
      throw InvalidArgument("count_tokens returned " + std::string(py::repr(tokens)) +
                            ", not an int of 0 or more");
    }
  });
}

std::vector<std::pair<std::size_t, std::size_t>> sentence_offsets(const std::string& text) {
  std::vector<std::pair<std::size_t, std::size_t>> offsets;
  for (const TextSpan& span : split_sentences(text)) offsets.emplace_back(span.begin, span.end);
  return offsets;
}

void register_document(py::module_& module) {
  py::class_<Section>(
      module, "Section",
      "A titled part of a document: its headings joined by ' > ', and the bytes [begin, end) of the "
      "UTF-8 text that it takes. Offsets are bytes, not characters.")
      .def(py::init<std::string, std::size_t, std::size_t>(), py::arg("path"), py::arg("begin"),
           py::arg("end"))
      .def_readonly("path", &Section::path)
      .def_readonly("begin", &Section::begin, "First byte.")
      .def_readonly("end", &Section::end, "Byte behind the last.")
      .def("__repr__", [](const Section& section) {
        return "Section(path=" + quoted(section.path) + ", begin=" + std::to_string(section.begin) +
               ", end=" + std::to_string(section.end) + ")";
      });

  py::class_<Document>(
      module, "Document",
      "A text to search. Section offsets are bytes of the UTF-8 text; `metadata` is one JSON object "
      "as a string; an empty `content_hash` is filled in from the content when it is added.")
      .def(py::init([](std::string id, std::string text, std::string title, std::vector<Section> sections,
                       std::string source, std::string metadata, std::string content_hash) {
             return Document{std::move(id),          std::move(title),  std::move(text),
                             std::move(sections),    std::move(source), std::move(metadata),
                             std::move(content_hash)};
           }),
           py::kw_only(), py::arg("id"), py::arg("text"), py::arg("title") = "",
           py::arg("sections") = std::vector<Section>(), py::arg("source") = "", py::arg("metadata") = "{}",
           py::arg("content_hash") = "")
      .def_readonly("id", &Document::id)
      .def_readonly("text", &Document::text)
      .def_readonly("title", &Document::title)
      .def_readonly("sections", &Document::sections)
      .def_readonly("source", &Document::source)
      .def_readonly("metadata", &Document::metadata, "One JSON object.")
      .def_readonly("content_hash", &Document::content_hash)
      .def("__repr__", [](const Document& document) {
        return "Document(id=" + quoted(document.id) + ", title=" + quoted(document.title) + ", " +
               std::to_string(document.text.size()) + " bytes, " + std::to_string(document.sections.size()) +
               " sections)";
      });
}

void register_chunk(py::module_& module) {
  py::class_<ChunkOptions>(module, "ChunkOptions",
                           "How documents are cut; sizes are in the counter's tokens.")
      .def(py::init<std::size_t, std::size_t>(), py::kw_only(),
           py::arg("max_tokens") = ChunkOptions().max_tokens, py::arg("overlap") = ChunkOptions().overlap)
      .def_readwrite("max_tokens", &ChunkOptions::max_tokens, "200 to 800; a chunk is never longer.")
      .def_readwrite("overlap", &ChunkOptions::overlap,
                     "50 to 100; repeated between neighbours of one section.")
      .def("__repr__", [](const ChunkOptions& options) {
        return "ChunkOptions(max_tokens=" + std::to_string(options.max_tokens) +
               ", overlap=" + std::to_string(options.overlap) + ")";
      });

  py::class_<Chunk>(module, "Chunk",
                    "A piece of a document: the bytes [begin, end) of its UTF-8 text. Offsets are bytes, not "
                    "characters: `document.text.encode()[begin:end].decode()` is `text`.")
      .def_readonly("section", &Chunk::section, "Headings above it, joined by ' > '.")
      .def_readonly("text", &Chunk::text)
      .def_readonly("begin", &Chunk::begin, "First byte.")
      .def_readonly("end", &Chunk::end, "Byte behind the last.")
      .def_readonly("tokens", &Chunk::tokens)
      .def("__repr__", [](const Chunk& chunk) {
        return "Chunk(section=" + quoted(chunk.section) + ", begin=" + std::to_string(chunk.begin) +
               ", end=" + std::to_string(chunk.end) + ", tokens=" + std::to_string(chunk.tokens) + ")";
      });
}

}  // namespace

void register_chunker(py::module_& module) {
  register_document(module);
  register_chunk(module);
  module.def(
      "chunk_document", &chunk, py::arg("document"), py::arg("options") = ChunkOptions(),
      py::arg("count_tokens") = py::none(),
      "Cuts a document into chunks at paragraph and sentence ends, with overlap inside a section.\n\n"
      "`count_tokens(text)` returns the length of a text in tokens; without it, words are counted. Every\n"
      "character that is not white space lies in a chunk, and no chunk has more than `max_tokens`. Raises\n"
      "InvalidArgument for options out of range and sections that do not fit the text.");
  module.def("split_sentences", &sentence_offsets, py::arg("text"), py::call_guard<py::gil_scoped_release>(),
             "The sentences of a text as pairs (begin, end) of offsets into its UTF-8 bytes, in order.");
}

}  // namespace taesr
