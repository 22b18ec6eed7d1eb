#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace taesr {

/// A file mapped read-only into memory. The bytes live as long as the object.
class MappedFile {
 public:
  /// Throws IoError for what cannot be opened and for anything but a regular file.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  [[nodiscard]] std::span<const std::byte> bytes() const { return {data_, size_}; }

 private:
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

/// Whole content of a regular file of at most `max_bytes`. Throws IoError or FormatError (too large).
[[nodiscard]] std::string read_file(const std::filesystem::path& path, std::uint64_t max_bytes);

/// Replaces `path` with the concatenated `parts`, or leaves it untouched: the bytes go to a temporary
/// file beside it, which is flushed to the disk and renamed over it. Throws IoError.
void write_file_atomically(const std::filesystem::path& path, std::span<const std::span<const std::byte>> parts);
void write_file_atomically(const std::filesystem::path& path, const std::string& content);

}  // namespace taesr
