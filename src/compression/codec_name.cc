#include "compression/codec_name.h"

#include <array>
#include <optional>
#include <string_view>
#include <utility>

#include "taesr/errors.h"

namespace taesr {
namespace {

constexpr std::array<std::pair<std::string_view, QuantiserKind>, 5> kPlainKinds = {{
    {"float32", QuantiserKind::kFloat32},
    {"float16", QuantiserKind::kFloat16},
    {"int8", QuantiserKind::kInt8},
    {"int4", QuantiserKind::kInt4},
    {"binary", QuantiserKind::kBinary},
}};

/// The number after `prefix`: 1 to `most`, without leading zeros. Nothing for anything else.
std::optional<std::size_t> number_after(std::string_view text, std::string_view prefix, std::size_t most) {
  if (!text.starts_with(prefix)) return std::nullopt;
  text.remove_prefix(prefix.size());
  if (text.empty() || text.size() > 5 || text.front() == '0') return std::nullopt;
  std::size_t number = 0;
  for (const char digit : text) {
    if (digit < '0' || digit > '9') return std::nullopt;
    number = 10 * number + static_cast<std::size_t>(digit - '0');
  }
  if (number > most) return std::nullopt;
  return number;
}

bool parse_projection(std::string_view text, std::size_t dimension, CodecName& parsed) {
  for (const auto& [prefix, kind] :
       {std::pair{"slice", ProjectionKind::kSlice}, std::pair{"pca", ProjectionKind::kPca}}) {
    if (const auto number = number_after(text, prefix, dimension)) {
      parsed.projection = kind;
      parsed.projected = *number;
      return true;
    }
  }
  return false;
}

bool parse_quantiser(std::string_view text, CodecName& parsed) {
  for (const auto& [name, kind] : kPlainKinds) {
    if (text != name) continue;
    parsed.quantiser = kind;
    return true;
  }
  const auto counted = [&](std::string_view prefix, QuantiserKind kind) {
    const auto number = number_after(text, prefix, parsed.projected);
    if (number) parsed.count = *number;
    if (number) parsed.quantiser = kind;
    return number.has_value();
  };
  if (counted("pq", QuantiserKind::kProduct) || counted("top", QuantiserKind::kTop)) return true;
  parsed.rotated = counted("opq", QuantiserKind::kProduct);
  return parsed.rotated;
}

}  // namespace

CodecName parse_codec_name(const std::string& name, std::size_t dimension) {
  CodecName parsed;
  parsed.projected = dimension;
  std::string_view rest = name;
  const std::size_t dash = rest.find('-');
  bool valid = parse_projection(rest.substr(0, dash), dimension, parsed);
  if (valid) {
    rest = dash == std::string_view::npos ? "float32" : rest.substr(dash + 1);
    valid = parse_quantiser(rest, parsed);
  } else {
    valid = parse_quantiser(rest, parsed);
  }
  if (valid) return parsed;
  const std::string most = std::to_string(dimension);
  throw InvalidArgument("codec '" + name.substr(0, 60) + "' is none for vectors of " + most +
                        " values; allowed: float32, float16, int8, int4, binary, pqM, opqM and topS, M and S "
                        "from 1 to the dimensions that are left, each also after sliceN- or pcaN-, N from 1 to " +
                        most);
}

}  // namespace taesr
