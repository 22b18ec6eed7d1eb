#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

namespace taesr::testing {

/// Writes GGUF files of version 3, right or, with `raw` pieces, wrong in one place.
class GgufWriter {
 public:
  void add_raw(const std::string& key, std::uint32_t type, const std::string& bytes) {
    pairs_ += text(key) + raw(type) + bytes;
    ++pair_count_;
  }
  void add(const std::string& key, std::uint32_t value) { add_raw(key, 4, raw(value)); }
  void add(const std::string& key, float value) { add_raw(key, 6, raw(value)); }
  void add(const std::string& key, const std::string& value) { add_raw(key, 8, text(value)); }
  void add(const std::string& key, const std::vector<std::string>& values) {
    std::string bytes = raw(std::uint32_t{8}) + raw<std::uint64_t>(values.size());
    for (const auto& value : values) bytes += text(value);
    add_raw(key, 9, bytes);
  }
  void add(const std::string& key, const std::vector<std::int32_t>& values) {
    std::string bytes = raw(std::uint32_t{5}) + raw<std::uint64_t>(values.size());
    for (const auto value : values) bytes += raw(value);
    add_raw(key, 9, bytes);
  }

  /// `extents` innermost first, as files have them.
  void add_tensor(const std::string& name, const std::vector<std::uint64_t>& extents, std::uint32_t type,
                  const std::string& bytes) {
    add_entry(name, extents, type, data_.size());
    data_ += bytes;
    data_.append((32 - data_.size() % 32) % 32, '\0');
  }
  void add_tensor(const std::string& name, const std::vector<std::uint64_t>& extents,
                  const std::vector<float>& values) {
    add_tensor(name, extents, 0,
               std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)));
  }
  void add_entry(const std::string& name, const std::vector<std::uint64_t>& extents, std::uint32_t type,
                 std::uint64_t offset) {
    entries_ += text(name) + raw(static_cast<std::uint32_t>(extents.size()));
    for (const auto extent : extents) entries_ += raw(extent);
    entries_ += raw(type) + raw(offset);
    ++entry_count_;
  }

  [[nodiscard]] std::string bytes(std::uint32_t version = 3) const {
    std::string out = "GGUF" + raw(version) + raw(entry_count_) + raw(pair_count_) + pairs_ + entries_;
    out.append((32 - out.size() % 32) % 32, '\0');
    return out + data_;
  }

  template <class T>
  static std::string raw(T value) {
    std::string bytes(sizeof value, '\0');
    std::memcpy(bytes.data(), &value, sizeof value);
    return bytes;
  }
  static std::string text(const std::string& value) { return raw<std::uint64_t>(value.size()) + value; }

 private:
  std::string pairs_;
  std::string entries_;
  std::string data_;
  std::uint64_t pair_count_ = 0;
  std::uint64_t entry_count_ = 0;
};

}  // namespace taesr::testing
