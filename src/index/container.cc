#include "index/container.h"

#include <algorithm>
#include <span>

#include "core/checksum.h"
#include "core/file.h"
#include "core/byte_io.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

constexpr std::string_view kMagic = "TAESRIDX";
constexpr std::uint32_t kVersion = 1;
constexpr std::uint32_t kMaxSections = 16;
constexpr std::uint32_t kMaxFingerprint = 4096;
constexpr std::uint64_t kMaxFileBytes = std::uint64_t{1} << 40;

struct SectionHeader {
  std::uint32_t tag = 0;
  std::uint64_t size = 0;
  std::uint64_t checksum = 0;
};

std::vector<SectionHeader> read_section_table(ByteReader& reader) {
  const auto count = reader.get<std::uint32_t>();
  if (count > kMaxSections)
    reader.fail("claims " + std::to_string(count) + " sections, more than any version has");
  std::vector<SectionHeader> table(count);
  for (SectionHeader& header : table) {
    header.tag = reader.get<std::uint32_t>();
    header.size = reader.get<std::uint64_t>();
    header.checksum = reader.get<std::uint64_t>();
  }
  return table;
}

}  // namespace

std::string encode_index_header(const IndexOrigin& origin, const std::vector<IndexSection>& sections) {
  ByteWriter writer;
  writer.put_text(kMagic);
  writer.put(kVersion);
  writer.put(static_cast<std::uint32_t>(origin.kind));
  writer.put(origin.revision.generation);
  writer.put(origin.revision.token);
  writer.put(static_cast<std::uint32_t>(origin.fingerprint.size()));
  writer.put_text(origin.fingerprint);
  writer.put(static_cast<std::uint32_t>(sections.size()));
  for (const IndexSection& section : sections) {
    writer.put(section.tag);
    writer.put(std::uint64_t{section.bytes.size()});
    writer.put(xxh64(section.bytes));
  }
  writer.put(xxh64(writer.bytes()));
  return writer.take();
}

void write_index_file(const std::filesystem::path& path, const IndexOrigin& origin,
                      const std::vector<IndexSection>& sections) {
  const std::string header = encode_index_header(origin, sections);
  std::vector<std::span<const std::byte>> parts = {std::as_bytes(std::span(header))};
  for (const IndexSection& section : sections) parts.push_back(std::as_bytes(std::span(section.bytes)));
  write_file_atomically(path, parts);
}

IndexFile::IndexFile(const std::filesystem::path& path)
    : IndexFile(read_file(path, kMaxFileBytes), path.string()) {}

IndexFile::IndexFile(std::string bytes, std::string name)
    : name_("'" + name + "'"), bytes_(std::move(bytes)) {
  parse();
}

void IndexFile::parse() {
  ByteReader reader(bytes_, name_);
  if (reader.remaining() < kMagic.size() || reader.take(kMagic.size()) != kMagic) {
    throw FormatError(name_ + " is not an index file");
  }
  const auto version = reader.get<std::uint32_t>();
  if (version != kVersion) {
    throw VersionError(name_ + " has format version " + std::to_string(version) + ", this build reads " +
                       std::to_string(kVersion));
  }
  origin_.kind = static_cast<IndexKind>(reader.get<std::uint32_t>());
  origin_.revision.generation = reader.get<std::int64_t>();
  origin_.revision.token = reader.get<std::int64_t>();
  const auto fingerprint_size = reader.get<std::uint32_t>();
  if (fingerprint_size > kMaxFingerprint) reader.fail("claims a fingerprint of impossible length");
  origin_.fingerprint = reader.take(fingerprint_size);
  const std::vector<SectionHeader> table = read_section_table(reader);
  const std::string_view header = std::string_view(bytes_).substr(0, bytes_.size() - reader.remaining());
  if (reader.get<std::uint64_t>() != xxh64(header)) throw ChecksumError(name_ + " has a damaged header");
  for (const SectionHeader& row : table) {
    const std::string_view content = reader.take(row.size);
    if (xxh64(content) != row.checksum)
      throw ChecksumError(name_ + " is damaged: a section's checksum differs");
    if (has(row.tag)) reader.fail("has a section twice");
    entries_.push_back({row.tag, content});
  }
  reader.expect_end();
}

bool IndexFile::has(std::uint32_t tag) const {
  return std::any_of(entries_.begin(), entries_.end(), [&](const Entry& entry) { return entry.tag == tag; });
}

std::string_view IndexFile::section(std::uint32_t tag) const {
  for (const Entry& entry : entries_) {
    if (entry.tag == tag) return entry.bytes;
  }
  throw FormatError(name_ + " lacks a section");
}

}  // namespace taesr
