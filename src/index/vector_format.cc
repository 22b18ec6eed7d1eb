#include "index/vector_format.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include <c10/util/Half.h>

#include "compression/kernels.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

// An int8 row: the float32 that its values are multiples of, then the values.
constexpr std::size_t kScale = sizeof(float);

std::size_t bytes_of(VectorFormat format, std::size_t dimension) {
  if (format == VectorFormat::kFloat32) return 4 * dimension;
  return format == VectorFormat::kFloat16 ? 2 * dimension : kScale + dimension;
}

float scale_of(const std::byte* row) {
  float scale;
  std::memcpy(&scale, row, sizeof scale);
  return scale;
}

const std::int8_t* values_of(const std::byte* row) { return reinterpret_cast<const std::int8_t*>(row + kScale); }

void write_halves(std::span<const float> vector, std::byte* row) {
  for (std::size_t i = 0; i < vector.size(); ++i) {
    const std::uint16_t half = c10::detail::fp16_ieee_from_fp32_value(vector[i]);
    if ((half & 0x7c00) == 0x7c00) {
      throw InvalidArgument("a vector has the value " + std::to_string(vector[i]) +
                            ", outside of float16's range, -65504 to 65504; scale it, or keep float32 vectors");
    }
    std::memcpy(row + 2 * i, &half, sizeof half);
  }
}

void write_int8(std::span<const float> vector, std::byte* row) {
  float largest = 0;
  for (const float value : vector) largest = std::max(largest, std::abs(value));
  const float scale = largest / 127;
  std::memcpy(row, &scale, sizeof scale);
  for (std::size_t i = 0; i < vector.size(); ++i) {
    const float steps = scale > 0 ? std::clamp(std::nearbyint(vector[i] / scale), -127.0F, 127.0F) : 0;
    row[kScale + i] = static_cast<std::byte>(static_cast<std::int8_t>(steps));
  }
}

}  // namespace

RowFormat::RowFormat(VectorFormat format, std::size_t dimension)
    : format_(format), dimension_(dimension), bytes_(bytes_of(format, dimension)),
      float_product_(best_inner_product()), half_product_(best_half_product()),
      int8_product_(best_int8_product()) {}

void RowFormat::write(std::span<const float> vector, std::byte* row) const {
  for (const float value : vector) {
    if (!std::isfinite(value)) throw InvalidArgument("a vector has a value that is not finite");
  }
  if (format_ == VectorFormat::kFloat32) {
    std::memcpy(row, vector.data(), bytes_);
  } else if (format_ == VectorFormat::kFloat16) {
    write_halves(vector, row);
  } else {
    write_int8(vector, row);
  }
}

std::vector<float> RowFormat::read(const std::byte* row) const {
  std::vector<float> vector(dimension_);
  for (std::size_t i = 0; i < dimension_; ++i) {
    if (format_ == VectorFormat::kFloat32) {
      std::memcpy(&vector[i], row + 4 * i, sizeof(float));
    } else if (format_ == VectorFormat::kFloat16) {
      std::uint16_t half;
      std::memcpy(&half, row + 2 * i, sizeof half);
      vector[i] = c10::detail::fp16_ieee_to_fp32_value(half);
    } else {
      vector[i] = scale_of(row) * values_of(row)[i];
    }
  }
  return vector;
}

bool RowFormat::is_finite(const std::byte* row) const {
  const std::vector<float> vector = read(row);
  return std::all_of(vector.begin(), vector.end(), [](float value) { return std::isfinite(value); });
}

float RowFormat::first_of_int8(const std::byte* a, const std::byte* b, std::size_t n) const {
  const std::int32_t product = int8_product_(values_of(a), values_of(b), n);
  return scale_of(a) * scale_of(b) * static_cast<float>(product);
}

float RowFormat::product(const float* query, const std::byte* row, std::size_t n) const {
  switch (format_) {
    case VectorFormat::kFloat32:
      return float_product_(query, reinterpret_cast<const float*>(row), n);
    case VectorFormat::kFloat16:
      return best_code_kernels().dot_half(query, reinterpret_cast<const std::uint16_t*>(row), n);
    default:
      return scale_of(row) * best_code_kernels().dot_int8(query, values_of(row), n);
  }
}

}  // namespace taesr
