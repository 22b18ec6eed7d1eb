#include "checkpoint/gguf_writer.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "core/file.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

constexpr std::size_t kAlignment = 32;

// Types of metadata values, by their numbers in the file.
constexpr std::uint32_t kU32 = 4;
constexpr std::uint32_t kI32 = 5;
constexpr std::uint32_t kF32 = 6;
constexpr std::uint32_t kBool = 7;
constexpr std::uint32_t kText = 8;
constexpr std::uint32_t kArray = 9;
constexpr std::uint32_t kI64 = 11;

template <class T>
std::string raw(T value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

std::string text(std::string_view value) { return raw<std::uint64_t>(value.size()) + std::string(value); }

std::string typed(bool value) { return raw(kBool) + raw<std::uint8_t>(value ? 1 : 0); }
std::string typed(double value) { return raw(kF32) + raw(static_cast<float>(value)); }
std::string typed(std::string_view value) { return raw(kText) + text(value); }
std::string typed(std::int64_t value) {
  if (value >= 0 && value <= std::numeric_limits<std::uint32_t>::max()) {
    return raw(kU32) + raw(static_cast<std::uint32_t>(value));
  }
  return raw(kI64) + raw(value);
}

template <class T>
std::string typed(const std::vector<T>& values) {
  std::uint32_t type = kI64;
  if constexpr (std::is_same_v<T, bool>) type = kBool;
  if constexpr (std::is_same_v<T, double>) type = kF32;
  if constexpr (std::is_same_v<T, std::string_view>) type = kText;
  if constexpr (std::is_same_v<T, std::int64_t>) {
    const auto fits = [](std::int64_t value) { return value == static_cast<std::int32_t>(value); };
    if (std::ranges::all_of(values, fits)) type = kI32;
  }
  std::string bytes = raw(kArray) + raw(type) + raw<std::uint64_t>(values.size());
  for (const auto& value : values) {
    if constexpr (std::is_same_v<T, bool>) bytes += raw<std::uint8_t>(value ? 1 : 0);
    if constexpr (std::is_same_v<T, double>) bytes += raw(static_cast<float>(value));
    if constexpr (std::is_same_v<T, std::string_view>) bytes += text(value);
    if constexpr (std::is_same_v<T, std::int64_t>) {
      bytes += type == kI32 ? raw(static_cast<std::int32_t>(value)) : raw(value);
    }
  }
  return bytes;
}

void pad(std::string& bytes) { bytes.append((kAlignment - bytes.size() % kAlignment) % kAlignment, '\0'); }

}  // namespace

void GgufWriter::add(const std::string& key, const std::string& value) { copy(key, std::string_view(value)); }
void GgufWriter::add(const std::string& key, double value) { copy(key, value); }
void GgufWriter::add_integer(const std::string& key, std::int64_t value) { copy(key, value); }

void GgufWriter::copy(const std::string& key, const GgufValue& value) {
  pairs_ += text(key) + std::visit([](const auto& held) { return typed(held); }, value);
  ++pair_count_;
}

void GgufWriter::add_tensor(const std::string& name, std::int64_t rows, std::int64_t columns, GgmlType type,
                            std::span<const float> values) {
  add_entry(name, rows, columns, type);
  quantise(type, values, data_);
  pad(data_);
}

void GgufWriter::add_blocks(const std::string& name, std::int64_t rows, std::int64_t columns, GgmlType type,
                            std::span<const std::byte> blocks) {
  add_entry(name, rows, columns, type);
  data_.append(reinterpret_cast<const char*>(blocks.data()), blocks.size());
  pad(data_);
}

void GgufWriter::add_entry(const std::string& name, std::int64_t rows, std::int64_t columns, GgmlType type) {
  if (columns % static_cast<std::int64_t>(values_per_block(type)) != 0) {
    throw InvalidArgument("tensor '" + name + "' has rows of " + std::to_string(columns) + " values; " +
                          name_of(type) + " needs a multiple of " + std::to_string(values_per_block(type)) +
                          ": write it as F16 or F32");
  }
  entries_ += text(name) + raw<std::uint32_t>(rows == 0 ? 1 : 2) + raw<std::uint64_t>(columns);
  if (rows > 0) entries_ += raw<std::uint64_t>(rows);
  entries_ += raw(static_cast<std::uint32_t>(type)) + raw<std::uint64_t>(data_.size());
  ++entry_count_;
}

void GgufWriter::write(const std::filesystem::path& path) const {
  std::string header =
      "GGUF" + raw<std::uint32_t>(3) + raw(entry_count_) + raw(pair_count_) + pairs_ + entries_;
  pad(header);
  const std::span<const std::byte> parts[] = {std::as_bytes(std::span(header)),
                                              std::as_bytes(std::span(data_))};
  write_file_atomically(path, parts);
}

}  // namespace taesr
