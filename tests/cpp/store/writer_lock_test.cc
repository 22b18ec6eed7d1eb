#include "store/writer_lock.h"

#include <gtest/gtest.h>

#include "support/child_process.h"
#include "support/files.h"
#include "support/temporary_directory.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

TEST(WriterLock, ASecondHolderFailsAtOnceAndIsToldTheProcess) {
  const testing::TemporaryDirectory directory;
  const auto file = directory.path() / "lock";
  const WriterLock lock(file);
  try {
    const WriterLock second(file);
    FAIL() << "locked twice";
  } catch (const IoError& error) {
    EXPECT_NE(std::string(error.what()).find("process " + std::to_string(::getpid())), std::string::npos)
        << error.what();
  }
  // Another process gets the same answer, with this process's number.
  const pid_t holder = ::getpid();
  testing::ChildProcess child([&] {
    try {
      const WriterLock third(file);
      return 1;
    } catch (const IoError& error) {
      return std::string(error.what()).find("process " + std::to_string(holder)) != std::string::npos ? 0 : 2;
    }
  });
  EXPECT_EQ(child.wait(), 0);
}

TEST(WriterLock, IsFreeAgainAfterItsHolder) {
  const testing::TemporaryDirectory directory;
  for (int i = 0; i < 3; ++i) const WriterLock lock(directory.path() / "lock");
}

TEST(WriterLock, AKilledHoldersFileDoesNotBlock) {
  const testing::TemporaryDirectory directory;
  const auto file = directory.path() / "lock";
  testing::Pipe ready;
  testing::ChildProcess child([&] {
    const WriterLock lock(file);
    ready.send(1);
    ::pause();
    return 0;
  });
  unsigned char byte = 0;
  ASSERT_TRUE(ready.receive(byte));
  EXPECT_THROW(const WriterLock lock(file), IoError);
  child.kill_and_wait();
  EXPECT_FALSE(testing::read_bytes(file).empty()) << "the name of the killed process";
  const WriterLock lock(file);
}

TEST(WriterLock, ADirectoryThatIsNotThereIsAnIoError) {
  EXPECT_THROW(const WriterLock lock("/nonexistent/lock"), IoError);
}

}  // namespace
}  // namespace taesr
