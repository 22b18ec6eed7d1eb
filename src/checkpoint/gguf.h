#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "checkpoint/ggml_blocks.h"
#include "core/file.h"

namespace taesr {

/// A tensor's bytes in the mapped file. Row-major, the outermost size first (files have it last).
struct GgufTensor {
  GgmlType type = GgmlType::kF32;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;

  [[nodiscard]] std::size_t count() const {
    return bytes.size() / bytes_per_block(type) * values_per_block(type);
  }
};

/// A metadata value; integers and numbers of every width are widened, texts lie in the mapped file.
using GgufValue = std::variant<bool, std::int64_t, double, std::string_view, std::vector<bool>,
                               std::vector<std::int64_t>, std::vector<double>, std::vector<std::string_view>>;

/// A checked, memory-mapped GGUF file, versions 2 and 3 (github.com/ggml-org/ggml, docs/gguf.md).
///
/// Everything is verified on opening: counts against the bytes that are left, texts, types, names, shapes,
/// sizes by checked multiplication, offsets inside the file, aligned and without overlaps.
class GgufFile {
 public:
  /// Throws IoError, VersionError, or FormatError that names the file, the field and what is wrong with it.
  explicit GgufFile(const std::filesystem::path& path);

  [[nodiscard]] const std::map<std::string, GgufTensor, std::less<>>& tensors() const { return tensors_; }
  [[nodiscard]] const std::map<std::string, GgufValue, std::less<>>& metadata() const { return metadata_; }
  [[nodiscard]] const std::string& origin() const { return origin_; }

  [[nodiscard]] bool has(std::string_view key) const { return metadata_.find(key) != metadata_.end(); }
  // The value of `key`. Throw FormatError that names it where it is absent, of another type or out of range.
  [[nodiscard]] std::int64_t integer(std::string_view key, std::int64_t least, std::int64_t most) const;
  [[nodiscard]] double number(std::string_view key) const;
  [[nodiscard]] std::string_view text(std::string_view key) const;
  [[nodiscard]] const std::vector<std::string_view>& texts(std::string_view key) const;
  [[nodiscard]] const std::vector<std::int64_t>& integers(std::string_view key) const;

 private:
  template <class T>
  const T& value(std::string_view key, const char* kind) const;
  [[noreturn]] void fail(const std::string& reason) const;

  std::string origin_;
  MappedFile file_;
  std::map<std::string, GgufTensor, std::less<>> tensors_;
  std::map<std::string, GgufValue, std::less<>> metadata_;
};

}  // namespace taesr
