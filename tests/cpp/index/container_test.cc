#include "index/container.h"

#include <gtest/gtest.h>

#include "core/checksum.h"
#include "support/files.h"
#include "support/temporary_directory.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

const IndexOrigin kOrigin{IndexKind::kKeyword, "0123abcd", {42, -7}};

std::vector<IndexSection> some_sections() {
  return {{section_tag("AAAA"), "first"},
          {section_tag("BBBB"), ""},
          {section_tag("CCCC"), std::string(1000, 'c')}};
}

std::string file_bytes(const std::vector<IndexSection>& sections) {
  std::string bytes = encode_index_header(kOrigin, sections);
  for (const IndexSection& section : sections) bytes += section.bytes;
  return bytes;
}

TEST(IndexFile, KeepsWhatWasWritten) {
  const testing::TemporaryDirectory directory;
  const auto path = directory.path() / "some.idx";
  write_index_file(path, kOrigin, some_sections());
  const IndexFile file(path);
  EXPECT_EQ(file.origin().kind, kOrigin.kind);
  EXPECT_EQ(file.origin().fingerprint, kOrigin.fingerprint);
  EXPECT_EQ(file.origin().revision, kOrigin.revision);
  for (const IndexSection& section : some_sections()) EXPECT_EQ(file.section(section.tag), section.bytes);
  EXPECT_FALSE(file.has(section_tag("DDDD")));
  EXPECT_THROW(static_cast<void>(file.section(section_tag("DDDD"))), FormatError);
}

TEST(IndexFile, EveryFlippedBitIsNoticed) {
  const std::string original = file_bytes(some_sections());
  for (std::size_t bit = 0; bit < original.size() * 8; ++bit) {
    std::string changed = original;
    changed[bit / 8] = static_cast<char>(changed[bit / 8] ^ (1 << bit % 8));
    EXPECT_THROW(IndexFile(changed, "changed"), FormatError) << "bit " << bit;
  }
}

TEST(IndexFile, EveryTruncationAndEveryTailIsNoticed) {
  const std::string original = file_bytes(some_sections());
  for (std::size_t size = 0; size < original.size(); ++size) {
    EXPECT_THROW(IndexFile(original.substr(0, size), "short"), FormatError) << size << " bytes";
  }
  EXPECT_THROW(IndexFile(original + '\0', "long"), FormatError);
}

TEST(IndexFile, AnotherVersionIsNamedAsSuch) {
  std::string bytes = file_bytes(some_sections());
  bytes[8] = 9;
  try {
    const IndexFile file(bytes, "future.idx");
    FAIL() << "accepted";
  } catch (const VersionError& error) {
    EXPECT_NE(std::string(error.what()).find("version 9"), std::string::npos) << error.what();
  }
}

TEST(IndexFile, ImpossibleSizesTakeNoMemory) {
  // Sizes are checked against the file before anything is allocated, even under a right checksum.
  for (const std::uint64_t size : {std::uint64_t{1} << 62, ~std::uint64_t{0}, std::uint64_t{1} << 40}) {
    std::string header = encode_index_header(kOrigin, {{section_tag("AAAA"), "first"}});
    header.resize(header.size() - 8);
    header.replace(header.size() - 16, 8, reinterpret_cast<const char*>(&size), 8);
    const std::uint64_t checksum = xxh64(header);
    header.append(reinterpret_cast<const char*>(&checksum), 8);
    EXPECT_THROW(IndexFile(header + "first", "huge"), FormatError);
  }
}

TEST(IndexFile, TheSameSectionTwiceIsRefused) {
  EXPECT_THROW(IndexFile(file_bytes({{1, "x"}, {1, "y"}}), "twice"), FormatError);
}

TEST(IndexFile, MissingFileIsAnIoError) { EXPECT_THROW(IndexFile("/nonexistent/some.idx"), IoError); }

}  // namespace
}  // namespace taesr
