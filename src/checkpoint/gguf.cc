#include "checkpoint/gguf.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/utf8.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF files are read in place: little endian only");

constexpr std::string_view kMagic = "GGUF";
constexpr std::uint64_t kLongestName = 65'535;
constexpr std::uint32_t kMostDimensions = 4;
constexpr std::uint64_t kLargestExtent = 1ULL << 40;
constexpr std::uint64_t kDefaultAlignment = 32;
constexpr std::uint64_t kLeastTensorBytes = 8 + 4 + 8 + 4 + 8;  // of a tensor's entry in the header
constexpr std::uint64_t kLeastPairBytes = 8 + 4 + 1;
constexpr std::string_view kAlignmentKey = "general.alignment";

/// Types of metadata values, by their numbers in the file.
enum class ValueType : std::uint32_t {
  kUInt8,
  kInt8,
  kUInt16,
  kInt16,
  kUInt32,
  kInt32,
  kFloat32,
  kBool,
  kString,
  kArray,
  kUInt64,
  kInt64,
  kFloat64,
};

struct TensorEntry {
  std::string name;
  GgufTensor tensor;
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
};

/// Walks through the header; every message carries the file's name and the field that is being read.
class HeaderReader {
 public:
  HeaderReader(std::string origin, std::span<const std::byte> data)
      : origin_(std::move(origin)), data_(data) {}

  [[noreturn]] void fail(const std::string& reason) const {
    throw FormatError("'" + origin_ + "': " + reason);
  }

  [[nodiscard]] std::size_t position() const { return position_; }

  template <class T>
  T read(const std::string& what) {
    if (left() < sizeof(T)) fail_short(what);
    T value;
    std::memcpy(&value, data_.data() + position_, sizeof value);
    position_ += sizeof value;
    return value;
  }

  std::string_view read_text(const std::string& what, std::uint64_t longest) {
    const auto size = read<std::uint64_t>(what);
    if (size > longest) {
      fail(what + ": length " + std::to_string(size) + " is above " + std::to_string(longest));
    }
    if (size > left()) fail_short(what);
    const std::string_view text(reinterpret_cast<const char*>(data_.data() + position_), size);
    position_ += size;
    return text;
  }

  std::string read_name(const std::string& what) {
    std::string name(read_text(what, kLongestName));
    if (name.empty()) fail(what + ": is empty");
    if (detail::find_invalid_utf8(name) != std::string_view::npos || name.find('\0') != std::string::npos) {
      fail(what + ": is not UTF-8 text");
    }
    return name;
  }

  /// A number of entries which can all be there.
  std::uint64_t read_count(const std::string& what, std::uint64_t least_bytes) {
    const auto count = read<std::uint64_t>(what);
    if (count > left() / least_bytes) {
      fail(what + ": " + std::to_string(count) + " do not fit into the " + std::to_string(left()) +
           " bytes that follow");
    }
    return count;
  }

  GgufValue read_value(const std::string& what) {
    const auto type = read<std::uint32_t>(what);
    switch (ValueType{type}) {
      case ValueType::kBool: return read_bool(what);
      case ValueType::kString: return read_text(what, std::numeric_limits<std::uint64_t>::max());
      case ValueType::kFloat32:
      case ValueType::kFloat64: return read_number(ValueType{type}, what);
      case ValueType::kArray: return read_array(what);
      default: return read_integer(ValueType{type}, what);
    }
  }

  TensorEntry read_tensor(std::uint64_t index) {
    TensorEntry entry;
    entry.name = read_name("name of tensor " + std::to_string(index));
    const std::string where = "tensor '" + entry.name.substr(0, 100) + "': ";
    entry.tensor.shape = read_shape(where);
    const auto number = read<std::uint32_t>(where + "type");
    const auto type = ggml_type(number);
    if (!type) {
      fail(where + "type " + std::to_string(number) +
           " is not one of F32, F16, BF16, Q4_0, Q4_1, Q8_0; convert the file");
    }
    entry.tensor.type = *type;
    entry.offset = read<std::uint64_t>(where + "offset");
    const auto per_block = static_cast<std::int64_t>(values_per_block(*type));
    if (entry.tensor.shape.back() % per_block != 0) {
      fail(where + "rows of " + std::to_string(entry.tensor.shape.back()) + " are not whole blocks of " +
           name_of(*type));
    }
    std::uint64_t size = bytes_per_block(*type);
    for (std::size_t i = 0; i < entry.tensor.shape.size(); ++i) {
      const bool last = i + 1 == entry.tensor.shape.size();
      const auto extent = static_cast<std::uint64_t>(entry.tensor.shape[i] / (last ? per_block : 1));
      if (__builtin_mul_overflow(size, extent, &size)) fail(where + "shape is too large");
    }
    entry.size = size;
    return entry;
  }

 private:
  [[nodiscard]] std::uint64_t left() const { return data_.size() - position_; }
  [[noreturn]] void fail_short(const std::string& what) const {
    fail(what + ": the file ends at byte " + std::to_string(data_.size()) + ", before this is complete");
  }

  bool read_bool(const std::string& what) {
    const auto byte = read<std::uint8_t>(what);
    if (byte > 1) fail(what + ": " + std::to_string(byte) + " is neither 0 nor 1");
    return byte == 1;
  }

  double read_number(ValueType type, const std::string& what) {
    return type == ValueType::kFloat32 ? static_cast<double>(read<float>(what)) : read<double>(what);
  }

  std::int64_t read_integer(ValueType type, const std::string& what) {
    switch (type) {
      case ValueType::kUInt8: return read<std::uint8_t>(what);
      case ValueType::kInt8: return read<std::int8_t>(what);
      case ValueType::kUInt16: return read<std::uint16_t>(what);
      case ValueType::kInt16: return read<std::int16_t>(what);
      case ValueType::kUInt32: return read<std::uint32_t>(what);
      case ValueType::kInt32: return read<std::int32_t>(what);
      case ValueType::kInt64: return read<std::int64_t>(what);
      case ValueType::kUInt64: {
        const auto value = read<std::uint64_t>(what);
        if (value > std::numeric_limits<std::int64_t>::max()) {
          fail(what + ": " + std::to_string(value) + " is above 2^63 - 1");
        }
        return static_cast<std::int64_t>(value);
      }
      default:
        fail(what + ": value type " + std::to_string(static_cast<std::uint32_t>(type)) +
             " is not from 0 to 12");
    }
  }

  template <class T, class Read>
  std::vector<T> read_all(const std::string& what, std::uint64_t least_bytes, const Read& read_one) {
    const auto count = read_count(what + ": length", least_bytes);
    std::vector<T> values;
    values.reserve(count);
    for (std::uint64_t i = 0; i < count; ++i) values.push_back(read_one());
    return values;
  }

  GgufValue read_array(const std::string& what) {
    const auto type = ValueType{read<std::uint32_t>(what)};
    switch (type) {
      case ValueType::kArray: fail(what + ": arrays of arrays are not read");
      case ValueType::kBool: return read_all<bool>(what, 1, [&] { return read_bool(what); });
      case ValueType::kString:
        return read_all<std::string_view>(
            what, 8, [&] { return read_text(what, std::numeric_limits<std::uint64_t>::max()); });
      case ValueType::kFloat32: return read_all<double>(what, 4, [&] { return read_number(type, what); });
      case ValueType::kFloat64: return read_all<double>(what, 8, [&] { return read_number(type, what); });
      default: return read_all<std::int64_t>(what, 1, [&] { return read_integer(type, what); });
    }
  }

  std::vector<std::int64_t> read_shape(const std::string& where) {
    const auto dimensions = read<std::uint32_t>(where + "dimensions");
    if (dimensions == 0 || dimensions > kMostDimensions) {
      fail(where + std::to_string(dimensions) + " dimensions; allowed: 1 to 4");
    }
    std::vector<std::int64_t> shape;
    for (std::uint32_t i = 0; i < dimensions; ++i) {
      const auto extent = read<std::uint64_t>(where + "shape");
      if (extent == 0 || extent > kLargestExtent) {
        fail(where + "size " + std::to_string(extent) + " is not from 1 to 2^40");
      }
      shape.insert(shape.begin(), static_cast<std::int64_t>(extent));
    }
    return shape;
  }

  std::string origin_;
  std::span<const std::byte> data_;
  std::size_t position_ = 0;
};

void read_version(HeaderReader& reader, const std::string& origin) {
  for (const char expected : kMagic) {
    if (reader.read<char>("magic") != expected) reader.fail("not a GGUF file: it does not begin with 'GGUF'");
  }
  const auto version = reader.read<std::uint32_t>("version");
  if (version == 2 || version == 3) return;
  const bool swapped = (version & 0xFFFFU) == 0 && version != 0;
  throw VersionError("'" + origin + "': GGUF version " +
                     (swapped ? "is big endian" : std::to_string(version)) +
                     "; this build reads versions 2 and 3, little endian; convert the file");
}

std::uint64_t read_alignment(const HeaderReader& reader,
                             const std::map<std::string, GgufValue, std::less<>>& metadata) {
  const auto found = metadata.find(kAlignmentKey);
  if (found == metadata.end()) return kDefaultAlignment;
  const auto* value = std::get_if<std::int64_t>(&found->second);
  if (value == nullptr || *value < 8 || *value > (1 << 20) ||
      !std::has_single_bit(static_cast<std::uint64_t>(*value))) {
    reader.fail("general.alignment must be a power of two from 8 to 2^20");
  }
  return static_cast<std::uint64_t>(*value);
}

/// Gives every tensor its bytes of `data`; they lie where `alignment` allows, inside it and do not overlap.
void place(const HeaderReader& reader, std::vector<TensorEntry>& entries, std::span<const std::byte> data,
           std::uint64_t alignment) {
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.offset < b.offset; });
  std::uint64_t end = 0;
  for (TensorEntry& entry : entries) {
    const std::string where = "tensor '" + entry.name.substr(0, 100) + "': ";
    if (entry.offset % alignment != 0) {
      reader.fail(where + "offset " + std::to_string(entry.offset) + " is not a multiple of " +
                  std::to_string(alignment));
    }
    if (entry.offset < end) reader.fail(where + "overlaps the tensor before it");
    if (entry.offset > data.size() || entry.size > data.size() - entry.offset) {
      reader.fail(where + std::to_string(entry.size) + " bytes at offset " + std::to_string(entry.offset) +
                  " lie outside the " + std::to_string(data.size()) +
                  " bytes of data; is the file cut short?");
    }
    entry.tensor.bytes = data.subspan(entry.offset, entry.size);
    end = entry.offset + entry.size;
  }
}

}  // namespace

GgufFile::GgufFile(const std::filesystem::path& path) : origin_(path.string()), file_(path) {
  const auto bytes = file_.bytes();
  HeaderReader reader(origin_, bytes);
  read_version(reader, origin_);
  const auto tensor_count = reader.read_count("number of tensors", kLeastTensorBytes);
  const auto pair_count = reader.read_count("number of metadata values", kLeastPairBytes);
  for (std::uint64_t i = 0; i < pair_count; ++i) {
    const std::string key = reader.read_name("key of metadata value " + std::to_string(i));
    const std::string what = "metadata '" + key.substr(0, 100) + "'";
    if (!metadata_.emplace(key, reader.read_value(what)).second) fail(what + " appears twice");
  }
  std::vector<TensorEntry> entries;
  for (std::uint64_t i = 0; i < tensor_count; ++i) entries.push_back(reader.read_tensor(i));
  const std::uint64_t alignment = read_alignment(reader, metadata_);
  const std::uint64_t begin = (reader.position() + alignment - 1) / alignment * alignment;
  place(reader, entries, bytes.subspan(std::min<std::uint64_t>(begin, bytes.size())), alignment);
  for (TensorEntry& entry : entries) {
    if (!tensors_.emplace(entry.name, std::move(entry.tensor)).second) {
      fail("tensor '" + entry.name.substr(0, 100) + "' appears twice");
    }
  }
}

void GgufFile::fail(const std::string& reason) const { throw FormatError("'" + origin_ + "': " + reason); }

template <class T>
const T& GgufFile::value(std::string_view key, const char* kind) const {
  const auto found = metadata_.find(key);
  if (found == metadata_.end()) fail("metadata '" + std::string(key) + "' is missing");
  const T* wanted = std::get_if<T>(&found->second);
  if (wanted == nullptr) fail("metadata '" + std::string(key) + "' is not " + kind);
  return *wanted;
}

std::int64_t GgufFile::integer(std::string_view key, std::int64_t least, std::int64_t most) const {
  const auto whole = value<std::int64_t>(key, "an integer");
  if (whole < least || whole > most) {
    fail("metadata '" + std::string(key) + "' is " + std::to_string(whole) +
         "; allowed: " + std::to_string(least) + " to " + std::to_string(most));
  }
  return whole;
}

double GgufFile::number(std::string_view key) const {
  const double number = value<double>(key, "a number");
  if (!std::isfinite(number)) fail("metadata '" + std::string(key) + "' is not finite");
  return number;
}

std::string_view GgufFile::text(std::string_view key) const { return value<std::string_view>(key, "a text"); }

const std::vector<std::string_view>& GgufFile::texts(std::string_view key) const {
  return value<std::vector<std::string_view>>(key, "a list of texts");
}

const std::vector<std::int64_t>& GgufFile::integers(std::string_view key) const {
  return value<std::vector<std::int64_t>>(key, "a list of integers");
}

}  // namespace taesr
