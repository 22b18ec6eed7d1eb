#include "kernels/cpu/blocks/product.h"

#include <algorithm>
#include <bit>
#include <cstring>

#if defined(__x86_64__)
#include "kernels/cpu/blocks/avx2.h"
#include "kernels/cpu/blocks/avx512.h"
#endif

namespace taesr::blocks {
namespace {

/// To the nearest integer, of two the even one, as the instructions do.
float round(float value) {
  constexpr float kWhole = 12'582'912;  // 1.5 * 2^23: floats beside it are integers
  return (value + kWhole) - kWhole;
}

void quantise_portable(const float* values, std::int64_t blocks, std::int8_t* integers, float* scales,
                       std::int32_t* sums) {
  for (std::int64_t block = 0; block < blocks; ++block, values += kBlock, integers += kBlock) {
    std::int32_t magnitude = 0;
    for (std::int64_t i = 0; i < kBlock; ++i) {
      magnitude = std::max(magnitude, std::bit_cast<std::int32_t>(values[i]) & 0x7fffffff);
    }
    const BlockGrid grid(magnitude);
    scales[block] = grid.scale;
    sums[block] = 0;
    for (std::int64_t i = 0; i < kBlock; ++i) {
      integers[i] = grid.finite ? static_cast<std::int8_t>(round(values[i] * grid.inverse)) : std::int8_t{0};
      sums[block] += integers[i];
    }
  }
}

/// A row times a panel of numbers.
void add_numbers(const PackedMatrix& matrix, std::int64_t panel, const Inputs& x, float (&totals)[kPanel]) {
  const auto size = static_cast<std::int64_t>(bytes_per_block(matrix.type));
  const auto* from =
      static_cast<const std::byte*>(matrix.values.const_data_ptr()) + panel * matrix.panel_bytes();
  float numbers[kPanel];
  for (std::int64_t i = 0; i < matrix.in; ++i, from += kPanel * size) {
    dequantise(matrix.type, {from, static_cast<std::size_t>(kPanel * size)}, numbers);
    for (std::int64_t k = 0; k < kPanel; ++k) totals[k] += numbers[k] * x.values[i];
  }
}

/// A row times a block of a panel of integers.
void multiply_block(const PackedMatrix& matrix, const std::uint8_t* values, const std::int8_t* x,
                    std::int32_t (&sums)[kPanel]) {
  const bool packed = matrix.type != GgmlType::kQ8_0;
  const std::int64_t units = packed ? kUnits / 2 : kUnits;
  for (std::int64_t u = 0; u < units; ++u) {
    for (std::int64_t i = 0; i < kPanel * kUnit; ++i) {
      const std::int32_t byte = values[u * kPanel * kUnit + i];
      const std::int8_t* const inputs = x + u * kUnit + i % kUnit;
      sums[i / kUnit] +=
          packed ? (byte & 15) * inputs[0] + (byte >> 4) * inputs[kBlock / 2] : byte * inputs[0];
    }
  }
}

/// A row times a panel of integers.
void add_integers(const PackedMatrix& matrix, std::int64_t panel, const Inputs& x, float (&totals)[kPanel]) {
  const std::int64_t bytes = kPanel * (matrix.type == GgmlType::kQ8_0 ? kBlock : kBlock / 2);
  const auto* const values =
      static_cast<const std::uint8_t*>(matrix.values.const_data_ptr()) + panel * matrix.panel_bytes();
  const auto halves = [&](const at::Tensor& tensor, std::int64_t block, float (&to)[kPanel]) {
    const auto* const all = static_cast<const std::byte*>(tensor.const_data_ptr());
    dequantise(GgmlType::kF16, {all + (panel * matrix.blocks() + block) * kPanel * 2, kPanel * 2}, to);
  };
  for (std::int64_t block = 0; block < matrix.blocks(); ++block) {
    std::int32_t sums[kPanel];
    std::fill(sums, sums + kPanel, -zero_of(matrix.type) * x.sums[block]);
    multiply_block(matrix, values + block * bytes, x.integers + block * kBlock, sums);
    float scales[kPanel];
    float offsets[kPanel] = {};
    halves(matrix.scales, block, scales);
    if (matrix.offsets.defined()) halves(matrix.offsets, block, offsets);
    for (std::int64_t k = 0; k < kPanel; ++k) {
      totals[k] += static_cast<float>(sums[k]) * (scales[k] * x.scales[block]);
      totals[k] += offsets[k] * (x.scales[block] * static_cast<float>(x.sums[block]));
    }
  }
}

void multiply_portable(const Inputs& x, std::int64_t rows, const PackedMatrix& matrix, std::int64_t begin,
                       std::int64_t end, float* y) {
  for (std::int64_t panel = begin; panel < end; ++panel) {
    const std::int64_t count = std::min(kPanel, matrix.out - panel * kPanel);
    for (std::int64_t r = 0; r < rows; ++r) {
      float totals[kPanel] = {};
      const auto add = is_in_blocks(matrix.type) ? &add_integers : &add_numbers;
      add(matrix, panel, x.from(r, matrix.in), totals);
      std::copy_n(totals, count, y + r * matrix.out + panel * kPanel);
    }
  }
}

}  // namespace

#if defined(__x86_64__)

void quantise(Instructions instructions, const float* values, std::int64_t blocks, std::int8_t* integers,
              float* scales, std::int32_t* sums) {
  switch (instructions) {
    case Instructions::kPortable: return quantise_portable(values, blocks, integers, scales, sums);
    case Instructions::kAvx2:
    case Instructions::kAvxVnni: return quantise_avx2(values, blocks, integers, scales, sums);
    case Instructions::kAvx512: return quantise_avx512(values, blocks, integers, scales, sums);
  }
}

void multiply(Instructions instructions, const Inputs& x, std::int64_t rows, const PackedMatrix& matrix,
              std::int64_t begin, std::int64_t end, float* y) {
  switch (instructions) {
    case Instructions::kPortable: return multiply_portable(x, rows, matrix, begin, end, y);
    case Instructions::kAvx2: return multiply_avx2(x, rows, matrix, begin, end, y);
    case Instructions::kAvxVnni: return multiply_avx_vnni(x, rows, matrix, begin, end, y);
    case Instructions::kAvx512: return multiply_avx512(x, rows, matrix, begin, end, y);
  }
}

#else

void quantise(Instructions, const float* values, std::int64_t blocks, std::int8_t* integers, float* scales,
              std::int32_t* sums) {
  quantise_portable(values, blocks, integers, scales, sums);
}

void multiply(Instructions, const Inputs& x, std::int64_t rows, const PackedMatrix& matrix,
              std::int64_t begin, std::int64_t end, float* y) {
  multiply_portable(x, rows, matrix, begin, end, y);
}

#endif

}  // namespace taesr::blocks
