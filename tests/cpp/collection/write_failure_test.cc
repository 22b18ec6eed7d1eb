// What happens when the i-th call that writes fails, for every i. TAESR_WRITE_FAILURE_STEP=1 tries every
// one; by default it is every seventh.
//
// The functions below take the place of the C library's in this whole program, SQLite included.

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <iostream>

#include "collection/changes.h"
#include "support/temporary_directory.h"
#include "taesr/errors.h"

namespace {

std::atomic<bool> armed = false;
std::atomic<long> calls = 0;
std::atomic<long> failing_call = 0;
std::atomic<bool> all_after = false;

bool must_fail() {
  if (!armed) return false;
  const long number = ++calls;
  return number == failing_call || (all_after && number > failing_call);
}

template <typename Function>
Function next(const char* name) {
  return reinterpret_cast<Function>(::dlsym(RTLD_NEXT, name));
}

int flush_failure() {
  errno = EIO;
  return -1;
}

template <typename Function, typename... Arguments>
auto call_or_fail(const char* name, int code, Arguments... arguments) {
  using Result = decltype(std::declval<Function>()(arguments...));
  if (must_fail()) {
    errno = code;
    return static_cast<Result>(-1);
  }
  return next<Function>(name)(arguments...);
}

}  // namespace

extern "C" {
ssize_t write(int file, const void* data, size_t size) {
  return call_or_fail<ssize_t (*)(int, const void*, size_t)>("write", ENOSPC, file, data, size);
}
ssize_t pwrite(int file, const void* data, size_t size, off_t at) {
  return call_or_fail<ssize_t (*)(int, const void*, size_t, off_t)>("pwrite", ENOSPC, file, data, size, at);
}
ssize_t pwrite64(int file, const void* data, size_t size, off64_t at) {
  return call_or_fail<ssize_t (*)(int, const void*, size_t, off64_t)>("pwrite64", ENOSPC, file, data, size,
                                                                      at);
}
int ftruncate(int file, off_t size) noexcept {
  return call_or_fail<int (*)(int, off_t)>("ftruncate", EIO, file, size);
}
int ftruncate64(int file, off64_t size) noexcept {
  return call_or_fail<int (*)(int, off64_t)>("ftruncate64", EIO, file, size);
}
// Nothing loses power here, so what need not fail need not wait for the disk.
int fsync(int file) {
  return armed ? (must_fail() ? flush_failure() : 0) : next<int (*)(int)>("fsync")(file);
}
int fdatasync(int file) {
  return armed ? (must_fail() ? flush_failure() : 0) : next<int (*)(int)>("fdatasync")(file);
}
int rename(const char* from, const char* to) noexcept {
  return call_or_fail<int (*)(const char*, const char*)>("rename", ENOSPC, from, to);
}
}

namespace taesr {
namespace {

namespace fs = std::filesystem;

constexpr long kNever = 1L << 40;
constexpr int kChanges = 12;
constexpr unsigned kSeed = 10;  // of twelve changes with every kind among them

const auto kEmbedder = std::make_shared<const testing::FakeEmbedder>(16);

long step() {
  const char* wanted = std::getenv("TAESR_WRITE_FAILURE_STEP");
  return wanted == nullptr ? 7 : std::max(1L, std::atol(wanted));
}

class WriteFailure : public ::testing::Test {
 protected:
  WriteFailure() {
    Collection collection = Collection::open(original_, kEmbedder);
    testing::Changes changes(1, {});
    collection.create_snapshot();
    for (int i = 0; i < 8; ++i) changes.make_next(&collection);
    start_.documents = start_.at_snapshot = changes.expected().documents;
    collection.create_snapshot();
  }
  ~WriteFailure() override { armed = false; }

  /// Makes the changes while the i-th call fails; returns the calls there were. What was made is
  /// compared in the process that saw the failure, and again after reopening.
  long run(long i) {
    const fs::path path = directory_.path() / "kb";
    fs::remove_all(path);
    fs::copy(original_, path, fs::copy_options::recursive);
    testing::Changes changes(kSeed, start_);
    testing::Expected acknowledged = start_;
    calls = 0;
    failing_call = i;
    armed = true;
    try {
      Collection collection = Collection::open(path, kEmbedder);
      try {
        for (int change = 0; change < kChanges; ++change) {
          acknowledged = changes.expected();
          changes.make_next(&collection);
        }
        acknowledged = changes.expected();
      } catch (const IoError&) {
        ++failures_;
        armed = false;
        const auto seen = testing::documents_of(collection);
        EXPECT_TRUE(seen == acknowledged.documents || seen == changes.expected().documents);
        EXPECT_GT(collection.search_keyword("common", 10).size(), 0u);
        armed = true;
      }
    } catch (const IoError&) {
      ++failures_;  // while opening
    }
    armed = false;
    static_cast<void>(testing::open_and_compare(path, kEmbedder, acknowledged, changes.expected()));
    return calls;
  }
  void fail_each_call() {
    const long in_all = run(kNever);
    EXPECT_EQ(failures_, 0);
    EXPECT_GT(in_all, 100);
    for (long i = 1; i <= in_all && !HasFailure(); i += step()) {
      SCOPED_TRACE("call " + std::to_string(i) + " of " + std::to_string(in_all));
      run(i);
    }
    // Where only files that are made anew could not be written, nobody has to be told.
    EXPECT_GT(failures_ * step() * 2, in_all) << "failures that were reported";
    std::cout << "rounds: " << (in_all + step() - 1) / step() << " of " << in_all << " calls, " << failures_
              << " errors reported\n";
  }

  testing::TemporaryDirectory directory_;
  fs::path original_ = directory_.path() / "original";
  testing::Expected start_;
  long failures_ = 0;
};

TEST_F(WriteFailure, OfOneCallIsAnIoErrorAndLosesNothing) {
  all_after = false;
  fail_each_call();
}

TEST_F(WriteFailure, OfEveryCallFromOneOnIsAnIoErrorAndLosesNothing) {
  all_after = true;
  fail_each_call();
}

}  // namespace
}  // namespace taesr
