#include "checkpoint/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <optional>
#include <set>

#include <nlohmann/json.hpp>

#include "taesr/errors.h"

namespace taesr {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors are read in place: little endian only");

using Json = nlohmann::json;

constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;
constexpr std::size_t kMaxDimensions = 8;
constexpr std::size_t kAlignment = 8;

struct DTypeInfo {
  DType dtype;
  const char* name;
  std::size_t size;
};
constexpr std::array<DTypeInfo, 7> kDTypes = {{{DType::kFloat32, "F32", 4},
                                               {DType::kFloat16, "F16", 2},
                                               {DType::kBFloat16, "BF16", 2},
                                               {DType::kInt8, "I8", 1},
                                               {DType::kUInt8, "U8", 1},
                                               {DType::kInt32, "I32", 4},
                                               {DType::kInt64, "I64", 8}}};

const DTypeInfo& info_of(DType dtype) {
  return *std::find_if(kDTypes.begin(), kDTypes.end(), [&](const DTypeInfo& info) { return info.dtype == dtype; });
}

/// Bytes of a tensor of this shape; nothing when the product overflows.
std::optional<std::uint64_t> byte_count(const std::vector<std::int64_t>& shape, DType dtype) {
  std::uint64_t count = size_of(dtype);
  for (const std::int64_t extent : shape) {
    if (extent < 0 || __builtin_mul_overflow(count, static_cast<std::uint64_t>(extent), &count)) return std::nullopt;
  }
  return count;
}

/// Reads the entries of one header; every message carries the file's name.
class HeaderReader {
 public:
  HeaderReader(std::string origin, std::span<const std::byte> data) : origin_(std::move(origin)), data_(data) {}

  [[noreturn]] void fail(const std::string& reason) const { throw FormatError("'" + origin_ + "': " + reason); }

  Json parse(std::string_view text) const {
    std::set<std::string> names;
    const auto check = [&](int depth, Json::parse_event_t event, Json& value) {
      if (depth > 4) fail("header nested deeper than 4 levels");
      if (depth == 1 && event == Json::parse_event_t::key && !names.insert(value.get<std::string>()).second) {
        fail("tensor '" + value.get<std::string>().substr(0, 100) + "' appears twice in the header");
      }
      return true;
    };
    try {
      Json header = Json::parse(text, check);
      if (!header.is_object()) fail("header is not a JSON object");
      return header;
    } catch (const Json::exception& error) {
      fail(std::string("header is not valid JSON: ") + error.what());
    }
  }

  TensorView read_tensor(const std::string& name, const Json& entry) const {
    const std::string where = "tensor '" + name.substr(0, 100) + "': ";
    const bool complete = entry.is_object() && entry.size() == 3 && entry.contains("dtype") &&
                          entry.contains("shape") && entry.contains("data_offsets");
    if (!complete) fail(where + "must have exactly dtype, shape and data_offsets");
    TensorView view;
    view.dtype = read_dtype(entry["dtype"], where);
    view.shape = read_shape(entry["shape"], where);
    const auto [begin, end] = read_offsets(entry["data_offsets"], where);
    const auto wanted = byte_count(view.shape, view.dtype);
    if (!wanted || *wanted != end - begin) fail(where + "data_offsets do not fit shape and dtype");
    view.bytes = data_.subspan(begin, end - begin);
    return view;
  }

 private:
  DType read_dtype(const Json& value, const std::string& where) const {
    for (const DTypeInfo& info : kDTypes) {
      if (value == info.name) return info.dtype;
    }
    fail(where + "dtype " + value.dump().substr(0, 40) + " is not one of F32, F16, BF16, I8, U8, I32, I64");
  }

  std::vector<std::int64_t> read_shape(const Json& value, const std::string& where) const {
    if (!value.is_array() || value.size() > kMaxDimensions) fail(where + "shape must be a list of at most 8 sizes");
    std::vector<std::int64_t> shape;
    for (const Json& extent : value) {
      if (!extent.is_number_unsigned() || extent.get<std::uint64_t>() > (1ULL << 40)) {
        fail(where + "shape must hold integers from 0 to 2^40");
      }
      shape.push_back(extent.get<std::int64_t>());
    }
    return shape;
  }

  std::pair<std::size_t, std::size_t> read_offsets(const Json& value, const std::string& where) const {
    const bool pair = value.is_array() && value.size() == 2 && value[0].is_number_unsigned() && value[1].is_number_unsigned();
    if (!pair) fail(where + "data_offsets must be two integers");
    const auto begin = value[0].get<std::uint64_t>();
    const auto end = value[1].get<std::uint64_t>();
    if (begin > end || end > data_.size()) {
      fail(where + "data_offsets [" + std::to_string(begin) + ", " + std::to_string(end) + "] lie outside the " +
           std::to_string(data_.size()) + " bytes of data");
    }
    return {begin, end};
  }

  std::string origin_;
  std::span<const std::byte> data_;
};

/// The data must be covered exactly once: a hole could hide a second file inside this one.
void check_coverage(const HeaderReader& reader, const std::map<std::string, TensorView>& tensors,
                    std::span<const std::byte> data) {
  std::vector<std::span<const std::byte>> pieces;
  for (const auto& [name, view] : tensors) {
    if (!view.bytes.empty()) pieces.push_back(view.bytes);
  }
  std::sort(pieces.begin(), pieces.end(), [](auto a, auto b) { return a.data() < b.data(); });
  const std::byte* expected = data.data();
  for (const auto piece : pieces) {
    if (piece.data() != expected) reader.fail("tensors leave a hole or overlap");
    expected = piece.data() + piece.size();
  }
  if (expected != data.data() + data.size()) reader.fail("bytes after the last tensor");
}

void append_header(std::string& out, const std::map<std::string, TensorView>& tensors,
                   const std::map<std::string, std::string>& metadata) {
  Json header = Json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::uint64_t offset = 0;
  for (const auto& [name, view] : tensors) {
    const auto bytes = byte_count(view.shape, view.dtype);
    if (!bytes || *bytes != view.bytes.size()) throw InvalidArgument("tensor '" + name + "': bytes do not fit its shape");
    header[name] = {{"dtype", name_of(view.dtype)}, {"shape", view.shape}, {"data_offsets", {offset, offset + *bytes}}};
    offset += *bytes;
  }
  std::string text = header.dump();
  text.append((kAlignment - text.size() % kAlignment) % kAlignment, ' ');  // keeps the data aligned when mapped
  const std::uint64_t size = text.size();
  out.resize(sizeof size);
  std::memcpy(out.data(), &size, sizeof size);
  out += text;
}

}  // namespace

std::size_t size_of(DType dtype) { return info_of(dtype).size; }
const char* name_of(DType dtype) { return info_of(dtype).name; }

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path) : file_(path) {
  const auto bytes = file_.bytes();
  std::uint64_t header_size = 0;
  const HeaderReader unread(path.string(), {});
  if (bytes.size() < sizeof header_size) unread.fail("too short for a safetensors file");
  std::memcpy(&header_size, bytes.data(), sizeof header_size);
  if (header_size > kMaxHeaderBytes || header_size > bytes.size() - sizeof header_size) {
    unread.fail("not a safetensors file, or cut short: header of " + std::to_string(header_size) + " bytes in a file of " +
                std::to_string(bytes.size()));
  }
  const auto data = bytes.subspan(sizeof header_size + header_size);
  const HeaderReader reader(path.string(), data);
  const auto* text = reinterpret_cast<const char*>(bytes.data() + sizeof header_size);
  const Json header = reader.parse({text, header_size});
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") {
      if (!entry.is_object()) reader.fail("__metadata__ must be an object of strings");
      for (const auto& [key, value] : entry.items()) {
        if (!value.is_string()) reader.fail("__metadata__ must be an object of strings");
        metadata_[key] = value.get<std::string>();
      }
    } else {
      tensors_.emplace(name, reader.read_tensor(name, entry));
    }
  }
  check_coverage(reader, tensors_, data);
}

void write_safetensors(const std::filesystem::path& path, const std::map<std::string, TensorView>& tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::string header;
  append_header(header, tensors, metadata);
  std::vector<std::span<const std::byte>> parts = {std::as_bytes(std::span(header))};
  for (const auto& [name, view] : tensors) parts.push_back(view.bytes);
  write_file_atomically(path, parts);
}

}  // namespace taesr
