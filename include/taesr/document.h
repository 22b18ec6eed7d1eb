#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace taesr {

/// A titled span of a document's text. Offsets are bytes into `Document::text` (UTF-8).
struct Section {
  std::string path;       // headings from the top, joined by " > "; empty before the first heading
  std::size_t begin = 0;
  std::size_t end = 0;
};

/// A text to search, as a loader leaves it: normalised, with its headings as sections.
struct Document {
  std::string id;                  // unique in a collection; for files, the path relative to the folder given
  std::string title;
  std::string text;                // UTF-8
  std::vector<Section> sections;   // ascending, not overlapping; empty: the whole text is one untitled section
  std::string source;              // where a person can open it: absolute path or URL; may be empty
  std::string metadata = "{}";     // one JSON object
  std::string content_hash;        // changes whenever the content does; filled from the content when empty
};

/// A piece of a document that is embedded, indexed and returned as one.
struct Chunk {
  std::string section;       // path of the section that it lies in
  std::string text;          // the document's bytes [begin, end)
  std::size_t begin = 0;
  std::size_t end = 0;
  std::size_t tokens = 0;
};

}  // namespace taesr
