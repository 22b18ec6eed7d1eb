#include "store/writer_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>

#include "taesr/errors.h"

namespace taesr {
namespace {

/// "process 123 on host", or "another process" where the holder has not written its name yet.
std::string read_holder(int descriptor) {
  std::array<char, 300> buffer{};
  const ssize_t size = ::pread(descriptor, buffer.data(), buffer.size(), 0);
  const std::string line(buffer.data(), size > 0 ? static_cast<std::size_t>(size) : 0);
  const std::string holder = line.substr(0, line.find('\n'));
  return holder.empty() ? "another process" : holder;
}

std::string describe_this_process() {
  std::array<char, 256> host{};
  if (::gethostname(host.data(), host.size() - 1) != 0) host[0] = '\0';
  return "process " + std::to_string(::getpid()) + " on " + (host[0] == '\0' ? "this machine" : host.data());
}

}  // namespace

WriterLock::WriterLock(const std::filesystem::path& file)
    : descriptor_(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)) {
  const auto fail = [&](const std::string& message) {
    if (descriptor_ >= 0) ::close(descriptor_);
    throw IoError(message);
  };
  if (descriptor_ < 0) {
    fail("cannot create the lock file '" + file.string() + "': " + std::strerror(errno) +
         "; to search only, open the collection read-only");
  }
  if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) fail("cannot lock '" + file.string() + "': " + std::strerror(errno));
    fail("the collection in '" + file.parent_path().string() + "' is open for writing by " +
         read_holder(descriptor_) + "; close it there, or open it read-only here");
  }
  // The name is for people only: the lock itself holds without it, even on a full disk.
  const std::string line = describe_this_process() + "\n";
  if (::ftruncate(descriptor_, 0) == 0) {
    [[maybe_unused]] const ssize_t written = ::pwrite(descriptor_, line.data(), line.size(), 0);
  }
}

WriterLock::~WriterLock() { ::close(descriptor_); }

}  // namespace taesr
