#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "checkpoint/ggml_blocks.h"
#include "checkpoint/gguf.h"

namespace taesr {

/// Collects metadata and tensors for a GGUF file, version 3.
class GgufWriter {
 public:
  // Numbers are written with 32 bits, integers too where they fit.
  void add(const std::string& key, const std::string& value);
  void add(const std::string& key, double value);
  void add_integer(const std::string& key, std::int64_t value);
  /// A value as another file has it.
  void copy(const std::string& key, const GgufValue& value);

  /// `values` [rows, columns], or [columns] where rows is 0. Throws InvalidArgument for rows that are not
  /// whole blocks of the type.
  void add_tensor(const std::string& name, std::int64_t rows, std::int64_t columns, GgmlType type,
                  std::span<const float> values);
  /// Blocks as they are in the file, of all rows. Throws InvalidArgument as above.
  void add_blocks(const std::string& name, std::int64_t rows, std::int64_t columns, GgmlType type,
                  std::span<const std::byte> blocks);

  /// Replaces `path` by the whole file or leaves it untouched. Throws IoError.
  void write(const std::filesystem::path& path) const;

 private:
  void add_entry(const std::string& name, std::int64_t rows, std::int64_t columns, GgmlType type);

  std::string pairs_;
  std::string entries_;
  std::string data_;
  std::uint64_t pair_count_ = 0;
  std::uint64_t entry_count_ = 0;
};

}  // namespace taesr
