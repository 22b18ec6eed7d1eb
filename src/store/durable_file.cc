#include "store/durable_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "taesr/errors.h"

namespace taesr {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kBufferBytes = 1 << 18;

[[noreturn]] void throw_errno(const std::string& action, const fs::path& path) {
  const int code = errno;
  throw IoError("cannot " + action + " '" + path.string() + "': " + std::strerror(code));
}

void flush_path(const fs::path& path, int flags) {
  const int descriptor = ::open(path.c_str(), flags | O_CLOEXEC);
  if (descriptor < 0) throw_errno("open", path);
  const bool flushed = ::fsync(descriptor) == 0 || errno == EINVAL || errno == ENOTSUP;
  const int code = errno;
  ::close(descriptor);
  errno = code;
  if (!flushed) throw_errno("flush", path);
}

}  // namespace

void flush_file(const fs::path& file) { flush_path(file, O_RDONLY); }

void rename_durably(const fs::path& from, const fs::path& to) {
  if (std::rename(from.c_str(), to.c_str()) != 0) throw_errno("rename '" + from.string() + "' to", to);
  const fs::path folder = to.parent_path();
  flush_path(folder.empty() ? "." : folder, O_RDONLY | O_DIRECTORY);
}

OutputFile::OutputFile(fs::path path)
    : path_(std::move(path)),
      descriptor_(::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644)) {
  if (descriptor_ < 0) throw_errno("create", path_);
}

OutputFile::~OutputFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void OutputFile::write(std::string_view bytes) {
  if (buffer_.size() + bytes.size() > kBufferBytes) {
    write_out(buffer_);
    buffer_.clear();
  }
  if (bytes.size() > kBufferBytes) {
    write_out(bytes);
  } else {
    buffer_ += bytes;
  }
}

void OutputFile::finish() {
  write_out(buffer_);
  buffer_.clear();
  if (::fsync(descriptor_) != 0) throw_errno("flush", path_);
  const int result = ::close(descriptor_);
  descriptor_ = -1;
  if (result != 0) throw_errno("close", path_);
}

void OutputFile::write_out(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) throw_errno("write", path_);
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
}

}  // namespace taesr
