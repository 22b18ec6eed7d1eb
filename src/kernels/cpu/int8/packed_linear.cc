#include "kernels/cpu/int8/packed_linear.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <tuple>
#include <utility>

#include <ATen/TensorOperators.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/empty.h>

#include "taesr/errors.h"

namespace taesr::int8 {
namespace {

/// To the nearest integer, of two the even one; for numbers up to 4 million.
float round(float value) {
  constexpr float kWhole = 12'582'912;  // 1.5 * 2^23: floats beside it are integers
  return (value + kWhole) - kWhole;
}

constexpr std::int64_t kBlockRows = 1024;  // in float32 at a time: a table may be most of a model
constexpr float kMost = 127;

/// Symmetric integers of one row; returns their scale.
float quantise_row(const float* row, std::int64_t width, std::int8_t* integers) {
  float largest = 0;
  for (std::int64_t i = 0; i < width; ++i) largest = std::max(largest, std::abs(row[i]));
  const float scale = std::max(largest / kMost, 1e-30F);
  for (std::int64_t i = 0; i < width; ++i) {
    integers[i] = static_cast<std::int8_t>(std::clamp(round(row[i] / scale), -kMost, kMost));
  }
  return scale;
}

/// Integers and scales of all rows.
std::pair<at::Tensor, at::Tensor> quantise_rows(const at::Tensor& rows) {
  const std::int64_t width = rows.size(1);
  auto integers = at::empty(rows.sizes(), at::kChar);
  auto scale = at::empty({rows.size(0)}, at::kFloat);
  for (std::int64_t begin = 0; begin < rows.size(0); begin += kBlockRows) {
    const std::int64_t count = std::min(kBlockRows, rows.size(0) - begin);
    const auto block = rows.narrow(0, begin, count).to(at::kFloat).contiguous();
    for (std::int64_t r = 0; r < count; ++r) {
      scale.mutable_data_ptr<float>()[begin + r] =
          quantise_row(block.const_data_ptr<float>() + r * width, width,
                       integers.mutable_data_ptr<std::int8_t>() + (begin + r) * width);
    }
  }
  return {std::move(integers), std::move(scale)};
}

/// [out] to whole panels.
at::Tensor padded(const at::Tensor& values, at::ScalarType dtype) {
  return at::constant_pad_nd(values.to(dtype), {0, round_up(values.size(0), kPanel) - values.size(0)}).contiguous();
}

}  // namespace

PackedLinear::PackedLinear(const at::Tensor& weight, const at::Tensor& offsets) : in(weight.size(1)), out(weight.size(0)) {
  if (in > kMostInputs) {
    throw InvalidArgument("a product has " + std::to_string(in) + " inputs; int8 takes up to " +
                          std::to_string(kMostInputs) + ": use bfloat16 or float32");
  }
  const auto [values, scales] = quantise_rows(weight);
  const std::int64_t wide = round_up(in, kUnit);
  const std::int64_t high = round_up(out, kPanel);
  panels = at::constant_pad_nd(values, {0, wide - in, 0, high - out})
               .view({high / kPanel, kPanel, wide / kUnit, kUnit})
               .transpose(1, 2)
               .clone(at::MemoryFormat::Contiguous);
  sums = padded(values.sum(1, false, at::kInt), at::kInt);
  scale = padded(scales, at::kFloat);
  bias = padded(offsets, at::kFloat);
}

Grid Grid::over(float least, float most) {
  constexpr float kSmallest = 1e-30F;  // its inverse is finite
  const float scale = std::max((most - least) / 255.0F, kSmallest);
  const float inverse = 1.0F / scale;
  const float zero = round(-least * inverse);
  return {scale, inverse, zero > 0 ? static_cast<std::int32_t>(std::min(zero, 255.0F)) : 0};
}

std::uint8_t Grid::integer(float value) const {
  const float shifted = round(value * inverse) + static_cast<float>(zero);
  return shifted > 0 ? static_cast<std::uint8_t>(std::min(shifted, 255.0F)) : std::uint8_t{0};
}

Table::Table(const at::Tensor& rows) { std::tie(values, scale) = quantise_rows(rows); }

}  // namespace taesr::int8
