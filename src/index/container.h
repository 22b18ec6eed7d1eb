#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "store/revision.h"

namespace taesr {

/// Which index a file holds.
enum class IndexKind : std::uint32_t { kDense = 1, kKeyword = 2, kImpact = 3, kTokens = 4 };

/// What a derived index was made from. It is good for rows of this revision and this vector space only.
struct IndexOrigin {
  IndexKind kind = IndexKind::kDense;
  std::string fingerprint;  // of the embedder
  Revision revision;        // of the rows
};

/// A named run of bytes in an index file.
struct IndexSection {
  std::uint32_t tag = 0;  // see section_tag
  std::string bytes;
};

/// Four letters as a section's tag.
[[nodiscard]] constexpr std::uint32_t section_tag(const char (&letters)[5]) {
  std::uint32_t tag = 0;
  for (int i = 3; i >= 0; --i) tag = tag << 8 | static_cast<unsigned char>(letters[i]);
  return tag;
}

/// Writes an index file, atomically. Layout, little endian:
///
///   "TAESRIDX"  u32 version  u32 kind  i64 generation  i64 token
///   u32 fingerprint size, fingerprint  u32 section count
///   per section: u32 tag, u64 size, u64 XXH64 of its bytes
///   u64 XXH64 of everything above  then the sections' bytes, one after the other, to the end of the file
void write_index_file(const std::filesystem::path& path, const IndexOrigin& origin,
                      const std::vector<IndexSection>& sections);

/// An index file whose checksums and sizes have been verified; its sections' content has not.
class IndexFile {
 public:
  /// Throws IoError, FormatError, VersionError or ChecksumError.
  explicit IndexFile(const std::filesystem::path& path);

  /// The same from bytes in memory; `name` is for messages.
  IndexFile(std::string bytes, std::string name);

  [[nodiscard]] const IndexOrigin& origin() const { return origin_; }
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] bool has(std::uint32_t tag) const;
  /// Throws FormatError when there is no such section.
  [[nodiscard]] std::string_view section(std::uint32_t tag) const;

 private:
  struct Entry {
    std::uint32_t tag = 0;
    std::string_view bytes;
  };
  void parse();

  std::string name_;
  std::string bytes_;
  IndexOrigin origin_;
  std::vector<Entry> entries_;
};

/// The bytes of an index file without its sections' content.
[[nodiscard]] std::string encode_index_header(const IndexOrigin& origin,
                                              const std::vector<IndexSection>& sections);

}  // namespace taesr
