#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace taesr {

/// Waits until a file's bytes are on the disk. Throws IoError.
void flush_file(const std::filesystem::path& file);

/// Renames a file or a folder, in place of a file or an empty folder of that name, and waits until the
/// new name is on the disk. Throws IoError.
void rename_durably(const std::filesystem::path& from, const std::filesystem::path& to);

/// A new file that is written from begin to end. Every failure is an IoError, a full disk's too.
class OutputFile {
 public:
  explicit OutputFile(std::filesystem::path path);
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  void write(std::string_view bytes);
  void write(std::span<const std::byte> bytes) {
    write({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }
  /// Writes what is left, and waits until it is on the disk. Without it the file is not complete.
  void finish();

 private:
  void write_out(std::string_view bytes);

  std::filesystem::path path_;
  int descriptor_;
  std::string buffer_;
};

}  // namespace taesr
