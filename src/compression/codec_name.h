#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace taesr {

/// The largest dimension of vectors that codecs take.
inline constexpr std::size_t kMaxCodecDimension = 65536;

enum class ProjectionKind : std::uint8_t { kNone, kSlice, kPca };
enum class QuantiserKind : std::uint8_t { kFloat32, kFloat16, kInt8, kInt4, kBinary, kProduct, kTop };

/// A codec's name, taken apart.
struct CodecName {
  ProjectionKind projection = ProjectionKind::kNone;
  std::size_t projected = 0;  // dimensions that are left; all without a projection
  QuantiserKind quantiser = QuantiserKind::kFloat32;
  std::size_t count = 0;  // stretches of pq, values of top
  bool rotated = false;   // opq

  /// Whether values are along directions of the sample's variance.
  [[nodiscard]] bool has_rotation() const { return rotated || projection == ProjectionKind::kPca; }
};

/// Throws InvalidArgument, with what is allowed for vectors of `dimension`.
[[nodiscard]] CodecName parse_codec_name(const std::string& name, std::size_t dimension);

}  // namespace taesr
