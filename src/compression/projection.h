#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "compression/codec_name.h"
#include "core/byte_io.h"
#include "taesr/matrix.h"

namespace taesr {

/// The linear part of a codec: a prefix made unit length, and a turn to the directions of variance.
class Projection {
 public:
  /// The largest dimension that is turned: the matrix has this many rows and columns.
  static constexpr std::size_t kMaxRotated = 8192;

  /// Throws InvalidArgument for a rotation with fewer than 2 rows or more than kMaxRotated dimensions.
  [[nodiscard]] static Projection fit(const CodecName& name, const Matrix& sample);
  [[nodiscard]] static Projection read(const CodecName& name, std::size_t dimension, ByteReader& reader);
  void write(ByteWriter& writer) const;

  /// Of the vectors that go in and come out.
  [[nodiscard]] std::size_t dimension() const { return dimension_; }
  [[nodiscard]] std::size_t projected() const { return projected_; }

  void project(const float* row, float* projected) const;
  /// The query of which inner products are taken with projected rows; `constant` is to be added to them.
  [[nodiscard]] std::vector<float> project_query(std::span<const float> query, float& constant) const;
  void restore(const float* projected, float* row) const;

 private:
  Projection(const CodecName& name, std::size_t dimension);
  void fit_rotation(const CodecName& name, const Matrix& prefixes);

  std::size_t dimension_;
  std::size_t prefix_;  // dimensions that a slice leaves
  std::size_t projected_;
  std::vector<float> mean_;      // [prefix]; empty without a rotation, as is the next
  std::vector<float> rotation_;  // [projected, prefix], orthonormal rows
};

}  // namespace taesr
