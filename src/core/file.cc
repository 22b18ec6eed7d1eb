#include "core/file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "taesr/errors.h"

namespace taesr {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void throw_errno(const std::string& action, const fs::path& path) {
  const int code = errno;
  throw IoError("cannot " + action + " '" + path.string() + "': " + std::strerror(code));
}

/// Owns a file descriptor.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  [[nodiscard]] int get() const { return fd_; }

  /// Closes and reports what close reports: on some file systems that is where a full disk shows.
  [[nodiscard]] bool close() {
    const int result = ::close(fd_);
    fd_ = -1;
    return result == 0;
  }

 private:
  int fd_;
};

/// Opens a regular file for reading. O_NONBLOCK keeps a named pipe from blocking before it is refused.
int open_regular(const fs::path& path, std::uint64_t& size) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) throw_errno("open", path);
  struct stat info {};
  if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(fd);
    throw IoError("cannot read '" + path.string() + "': not a regular file");
  }
  size = static_cast<std::uint64_t>(info.st_size);
  return fd;
}

void write_all(int fd, std::span<const std::byte> bytes, const fs::path& path) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) throw_errno("write", path);
    bytes = bytes.subspan(static_cast<std::size_t>(written));
  }
}

/// Makes a rename durable. File systems that cannot flush a directory are left to their own promises.
void flush_directory(const fs::path& directory) {
  const Descriptor fd(::open(directory.empty() ? "." : directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.get() < 0) throw_errno("open directory", directory);
  if (::fsync(fd.get()) != 0 && errno != EINVAL && errno != ENOTSUP) throw_errno("flush directory", directory);
}

}  // namespace

MappedFile::MappedFile(const fs::path& path) {
  std::uint64_t size = 0;
  const Descriptor fd(open_regular(path, size));
  size_ = static_cast<std::size_t>(size);
  if (size_ == 0) return;
  void* data = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd.get(), 0);
  if (data == MAP_FAILED) throw_errno("map", path);
  data_ = static_cast<const std::byte*>(data);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

std::string read_file(const fs::path& path, std::uint64_t max_bytes) {
  std::uint64_t size = 0;
  const Descriptor fd(open_regular(path, size));
  if (size > max_bytes) {
    throw FormatError("'" + path.string() + "' has " + std::to_string(size) + " bytes; at most " +
                      std::to_string(max_bytes) + " are read");
  }
  std::string content(static_cast<std::size_t>(size), '\0');
  std::size_t filled = 0;
  while (filled < content.size()) {
    const ssize_t got = ::read(fd.get(), content.data() + filled, content.size() - filled);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw_errno("read", path);
    if (got == 0) break;  // truncated since fstat: return what is there, the format's reader will judge it
    filled += static_cast<std::size_t>(got);
  }
  content.resize(filled);
  return content;
}

void write_file_atomically(const fs::path& path, std::span<const std::span<const std::byte>> parts) {
  // The process id keeps two processes apart; a leftover of a killed one is overwritten or ignored.
  const fs::path temporary = path.string() + ".tmp-" + std::to_string(::getpid());
  try {
    Descriptor fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    if (fd.get() < 0) throw_errno("create", temporary);
    for (const auto part : parts) write_all(fd.get(), part, temporary);
    if (::fsync(fd.get()) != 0) throw_errno("flush", temporary);
    if (!fd.close()) throw_errno("close", temporary);
    if (::rename(temporary.c_str(), path.c_str()) != 0) throw_errno("replace", path);
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
  flush_directory(path.parent_path());
}

void write_file_atomically(const fs::path& path, const std::string& content) {
  const std::span<const std::byte> part = std::as_bytes(std::span(content));
  write_file_atomically(path, std::span(&part, 1));
}

}  // namespace taesr
