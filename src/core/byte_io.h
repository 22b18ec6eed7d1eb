#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "taesr/errors.h"

namespace taesr {

/// Appends little-endian values to a string of bytes.
class ByteWriter {
 public:
  template <typename T>
  void put(T value) {
    static_assert(std::is_arithmetic_v<T>);
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  template <typename T>
  void put_all(const T* values, std::size_t count) {
    static_assert(std::is_arithmetic_v<T>);
    bytes_.append(reinterpret_cast<const char*>(values), count * sizeof(T));
  }
  void put_text(std::string_view text) { bytes_.append(text); }

  /// Seven bits a byte, lowest first, the high bit set on all but the last (LEB128).
  void put_varint(std::uint32_t value) {
    for (; value >= 0x80; value >>= 7) bytes_ += static_cast<char>(value | 0x80);
    bytes_ += static_cast<char>(value);
  }

  [[nodiscard]] const std::string& bytes() const { return bytes_; }
  [[nodiscard]] std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

/// Reads what ByteWriter wrote and never past the end: FormatError instead.
class ByteReader {
 public:
  ByteReader(std::string_view bytes, std::string name) : bytes_(bytes), name_(std::move(name)) {}

  template <typename T>
  [[nodiscard]] T get() {
    T value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }

  /// `count` values; memory is taken only after the bytes are known to be there.
  template <typename T>
  [[nodiscard]] std::vector<T> get_all(std::size_t count) {
    if (count > remaining() / sizeof(T)) fail("ends too early");
    std::vector<T> values(count);
    if (count > 0) std::memcpy(values.data(), take(count * sizeof(T)).data(), count * sizeof(T));
    return values;
  }

  [[nodiscard]] std::uint32_t get_varint() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 35; shift += 7) {
      const auto byte = get<std::uint8_t>();
      value |= std::uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80 && value <= UINT32_MAX) return static_cast<std::uint32_t>(value);
    }
    fail("holds a number of more than 32 bits");
  }

  [[nodiscard]] std::string_view take(std::size_t count) {
    if (count > remaining()) fail("ends too early");
    const std::string_view taken = bytes_.substr(position_, count);
    position_ += count;
    return taken;
  }

  [[nodiscard]] std::size_t remaining() const { return bytes_.size() - position_; }

  void expect_end() const {
    if (remaining() != 0) fail("has " + std::to_string(remaining()) + " bytes too many");
  }

  [[noreturn]] void fail(const std::string& what) const {
    throw FormatError(name_ + " " + what + " (at byte " + std::to_string(position_) + ")");
  }

 private:
  std::string_view bytes_;
  std::string name_;
  std::size_t position_ = 0;
};

}  // namespace taesr
