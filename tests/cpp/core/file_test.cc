#include "core/file.h"

#include <sys/stat.h>

#include <gtest/gtest.h>

#include "support/temporary_directory.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

using testing::TemporaryDirectory;

TEST(File, ReadsBackWhatWasWritten) {
  const TemporaryDirectory folder;
  const std::string content("a\0b\n", 4);
  write_file_atomically(folder / "f", content);
  EXPECT_EQ(read_file(folder / "f", 100), content);
  EXPECT_EQ(MappedFile(folder / "f").bytes().size(), 4u);
}

TEST(File, EmptyFileMapsToNothing) {
  const TemporaryDirectory folder;
  write_file_atomically(folder / "f", "");
  EXPECT_TRUE(MappedFile(folder / "f").bytes().empty());
}

TEST(File, ReplacingLeavesNoTemporaryFile) {
  const TemporaryDirectory folder;
  write_file_atomically(folder / "f", "old");
  write_file_atomically(folder / "f", "new");
  EXPECT_EQ(read_file(folder / "f", 100), "new");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

TEST(File, FailedReplacementKeepsTheOldFileAndCleansUp) {
  const TemporaryDirectory folder;
  std::filesystem::create_directory(folder / "f");  // a directory cannot be renamed over
  write_file_atomically(folder / "f/inside", "kept");
  EXPECT_THROW(write_file_atomically(folder / "f", "new"), IoError);
  EXPECT_EQ(read_file(folder / "f/inside", 100), "kept");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path()), {}), 1);
}

TEST(File, FullDiskIsAnError) {
  const std::string content(1 << 16, 'x');
  const TemporaryDirectory folder;
  // The temporary file is opened by name beside the target, so a link to /dev/full stands for a full disk.
  const auto temporary = folder / ("f.tmp-" + std::to_string(::getpid()));
  std::filesystem::create_symlink("/dev/full", temporary);
  EXPECT_THROW(write_file_atomically(folder / "f", content), IoError);
  EXPECT_FALSE(std::filesystem::exists(folder / "f"));
}

TEST(File, TooLargeIsRefusedWithBothSizes) {
  const TemporaryDirectory folder;
  write_file_atomically(folder / "f", "12345");
  try {
    (void)read_file(folder / "f", 4);
    FAIL();
  } catch (const FormatError& error) {
    EXPECT_NE(std::string(error.what()).find("5 bytes; at most 4"), std::string::npos);
  }
}

TEST(File, MissingFilesDirectoriesAndPipesAreErrorsThatNameThePath) {
  const TemporaryDirectory folder;
  ASSERT_EQ(::mkfifo((folder / "pipe").c_str(), 0600), 0);
  for (const auto& path : {folder / "missing", folder.path(), folder / "pipe"}) {
    try {
      (void)read_file(path, 100);
      FAIL() << path;
    } catch (const IoError& error) {
      EXPECT_NE(std::string(error.what()).find(path.string()), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace taesr
