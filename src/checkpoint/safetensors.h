#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "core/file.h"

namespace taesr {

enum class DType { kFloat32, kFloat16, kBFloat16, kInt8, kUInt8, kInt32, kInt64 };

[[nodiscard]] std::size_t size_of(DType dtype);
[[nodiscard]] const char* name_of(DType dtype);  // as safetensors spells it: "F32", "BF16", ...

/// A tensor's bytes, owned elsewhere. Row-major, little endian.
struct TensorView {
  DType dtype = DType::kFloat32;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;
};

/// A checked, memory-mapped safetensors file (github.com/huggingface/safetensors, format v0).
///
/// Everything is verified on opening: header size (at most 100 MB), JSON, dtypes, shapes, sizes by
/// checked multiplication, offsets inside the file, without holes or overlaps.
class SafetensorsFile {
 public:
  /// Throws IoError or FormatError that names the file, the tensor and what is wrong with it.
  explicit SafetensorsFile(const std::filesystem::path& path);

  [[nodiscard]] const std::map<std::string, TensorView>& tensors() const { return tensors_; }
  [[nodiscard]] const std::map<std::string, std::string>& metadata() const { return metadata_; }

 private:
  MappedFile file_;
  std::map<std::string, TensorView> tensors_;
  std::map<std::string, std::string> metadata_;
};

/// Writes tensors, sorted by name, atomically. Throws IoError, and InvalidArgument when a view's
/// bytes do not fit its shape.
void write_safetensors(const std::filesystem::path& path, const std::map<std::string, TensorView>& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace taesr
