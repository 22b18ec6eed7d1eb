#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "core/byte_io.h"
#include "taesr/export.h"
#include "taesr/matrix.h"

namespace taesr {

/// How a TokenCodec is fitted.
struct TokenCodecOptions {
  std::size_t centroids = 1024;   // 1 to 65536; no more than the sample has rows
  std::size_t iterations = 8;     // of k-means, 1 to 100
  std::size_t max_rows = 32768;   // of the sample that are looked at, evenly spread
  std::uint64_t seed = 1;
};

/// Token vectors as the nearest centroid's number (2 bytes), a scale (float16) and two bits a dimension for
/// what is left (ColBERTv2, Santhanam et al. 2022): 36 bytes for 128 dimensions, 28 for 96.
///
/// Bits stand for four levels, those of least squared error for Gaussian values, times the dimension's
/// typical residual; the scale is the token's own, fitted by least squares.
/// Thread safety: const methods may be called concurrently.
class TAESR_API TokenCodec {
 public:
  static constexpr std::size_t kMaxDimension = 1024;

  /// Throws InvalidArgument for a sample without rows or of more than kMaxDimension columns, for values that
  /// are not finite or above 1000 in magnitude, and for options out of range.
  [[nodiscard]] static TokenCodec fit(const Matrix& sample, const TokenCodecOptions& options = {});

  [[nodiscard]] std::size_t dimension() const { return steps_.size(); }
  [[nodiscard]] std::size_t code_size() const { return 4 + (dimension() + 3) / 4; }
  [[nodiscard]] std::size_t centroid_count() const { return centroids_.rows; }
  [[nodiscard]] const Matrix& centroids() const { return centroids_; }

  /// [tokens, dimension] to tokens * code_size bytes. Throws InvalidArgument as `fit` does.
  [[nodiscard]] std::vector<std::uint8_t> encode(const Matrix& tokens) const;
  /// `count` codes to [count, dimension], which has room.
  void decode(const std::uint8_t* codes, std::size_t count, float* tokens) const;
  /// The centroid's number of a code.
  [[nodiscard]] static std::uint16_t centroid_of(const std::uint8_t* code);
  /// Whether a code can be one of this codec.
  [[nodiscard]] bool is_valid(const std::uint8_t* code) const;

  void write(ByteWriter& writer) const;
  /// Throws FormatError for bytes that cannot be a codec.
  [[nodiscard]] static TokenCodec read(ByteReader& reader);

 private:
  void encode_token(const float* token, std::uint16_t centroid, std::uint8_t* code) const;

  Matrix centroids_;
  std::vector<float> steps_;  // by dimension, above zero
};

}  // namespace taesr
