#include "collection/export_format.h"

#include <array>
#include <cstdio>

#include "core/checksum.h"
#include "core/file.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

constexpr int kDeepestJson = 200;
constexpr std::string_view kNpyMagic = "\x93NUMPY";

/// NumPy's way to write a tuple: "(3, 4)", "(3,)".
std::string shape_text(std::span<const std::size_t> shape) {
  std::string text = "(";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    text += (i > 0 ? " " : "") + std::to_string(shape[i]);
    if (i + 1 < shape.size() || shape.size() == 1) text += ",";
  }
  return text + ")";
}

}  // namespace

Json parse_json(std::string_view text, const std::string& where) {
  bool too_deep = false;
  const auto watch = [&](int depth, Json::parse_event_t, Json&) {
    too_deep = too_deep || depth > kDeepestJson;
    return !too_deep;
  };
  Json value = Json::parse(text, watch, false);
  if (too_deep)
    throw FormatError(where + ": JSON nested deeper than " + std::to_string(kDeepestJson) + " levels");
  if (value.is_discarded()) throw FormatError(where + ": not JSON");
  return value;
}

std::string to_line(const Json& value, const std::string& where) {
  try {
    return value.dump() + "\n";
  } catch (const Json::exception&) {
    throw FormatError(where + ": text that is not UTF-8");
  }
}

Json describe_file(const std::filesystem::path& file) {
  const MappedFile mapped(file);
  const auto bytes = mapped.bytes();
  std::array<char, 17> digits{};
  std::snprintf(
      digits.data(), digits.size(), "%016llx",
      static_cast<unsigned long long>(xxh64({reinterpret_cast<const char*>(bytes.data()), bytes.size()})));
  return {{"bytes", bytes.size()}, {"xxh64", digits.data()}};
}

std::string npy_header(const std::string& type, std::span<const std::size_t> shape) {
  std::string fields =
      "{'descr': '" + type + "', 'fortran_order': False, 'shape': " + shape_text(shape) + ", }";
  const std::size_t before = kNpyMagic.size() + 4;
  fields.append(63 - (before + fields.size()) % 64, ' ');  // values start at a multiple of 64
  fields += '\n';
  std::string header(kNpyMagic);
  header += {'\1', '\0', static_cast<char>(fields.size() & 0xff), static_cast<char>(fields.size() >> 8)};
  return header + fields;
}

std::span<const std::byte> npy_values(std::span<const std::byte> file, const std::string& type,
                                      std::size_t item_size, std::span<const std::size_t> shape,
                                      const std::string& name) {
  const std::string_view bytes(reinterpret_cast<const char*>(file.data()), file.size());
  const auto byte = [&](std::size_t at) { return static_cast<std::size_t>(std::to_integer<int>(file[at])); };
  if (bytes.size() < 12 || !bytes.starts_with(kNpyMagic)) throw FormatError(name + ": not a .npy file");
  const bool first = byte(6) == 1;  // later versions have a longer size
  const std::size_t begin = first ? 10 : 12;
  const std::size_t size = byte(8) + byte(9) * 256 + (first ? 0 : byte(10) * 65536 + byte(11) * 16777216);
  const std::string_view header = bytes.substr(begin, size);
  std::size_t expected = item_size;
  for (const std::size_t extent : shape) expected *= extent;
  const bool fits = header.find("'descr': '" + type + "'") != std::string_view::npos &&
                    header.find("'fortran_order': False") != std::string_view::npos &&
                    header.find("'shape': " + shape_text(shape)) != std::string_view::npos &&
                    header.size() == size && bytes.size() - begin - size == expected;
  if (!fits) {
    throw FormatError(name + ": not an array " + shape_text(shape) + " of type '" + type +
                      "', as manifest.json and the other files say");
  }
  return file.subspan(begin + size);
}

}  // namespace taesr
