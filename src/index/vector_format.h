#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "index/distance.h"
#include "taesr/export.h"

namespace taesr {

/// How an index keeps its vectors.
enum class VectorFormat : std::uint8_t {
  kFloat32 = 0,
  kFloat16 = 1,  // half the memory; values from -65504 to 65504
  kInt8 = 2,     // a quarter: multiples of the vector's largest magnitude divided by 127
};

/// Vectors of one dimension as rows of bytes, and their inner products. Rows need no alignment.
class TAESR_API RowFormat {
 public:
  RowFormat(VectorFormat format, std::size_t dimension);

  [[nodiscard]] VectorFormat format() const { return format_; }
  [[nodiscard]] std::size_t dimension() const { return dimension_; }
  [[nodiscard]] std::size_t bytes() const { return bytes_; }

  /// Throws InvalidArgument for values that are not finite or that float16 cannot hold.
  void write(std::span<const float> vector, std::byte* row) const;
  [[nodiscard]] std::vector<float> read(const std::byte* row) const;
  /// False for bytes that stand for values that are not finite.
  [[nodiscard]] bool is_finite(const std::byte* row) const;

  /// Inner product of two rows.
  [[nodiscard]] float product(const std::byte* a, const std::byte* b) const { return first(a, b, dimension_); }

  /// Inner product of the first n values of a row with as many of a query.
  [[nodiscard]] float product(const float* query, const std::byte* row, std::size_t n) const;

  /// Sum of the squares of the first n values of a row.
  [[nodiscard]] float squared_length(const std::byte* row, std::size_t n) const { return first(row, row, n); }

 private:
  /// Inner product of the first n values of two rows.
  [[nodiscard]] float first(const std::byte* a, const std::byte* b, std::size_t n) const {
    switch (format_) {
      case VectorFormat::kFloat32:
        return float_product_(reinterpret_cast<const float*>(a), reinterpret_cast<const float*>(b), n);
      case VectorFormat::kFloat16:
        return half_product_(reinterpret_cast<const std::uint16_t*>(a),
                             reinterpret_cast<const std::uint16_t*>(b), n);
      default:
        return first_of_int8(a, b, n);
    }
  }
  [[nodiscard]] float first_of_int8(const std::byte* a, const std::byte* b, std::size_t n) const;

  VectorFormat format_;
  std::size_t dimension_;
  std::size_t bytes_;
  InnerProduct float_product_;
  HalfProduct half_product_;
  Int8Product int8_product_;
};

}  // namespace taesr
