#include "kernels/cpu/int8/linear.h"

#include <algorithm>

#if defined(__x86_64__)
#include "kernels/cpu/avx512/int8.h"
#include "kernels/cpu/int8/avx2.h"
#endif

namespace taesr::int8 {
namespace {

void quantise_portable(const float* x, std::int64_t rows, std::int64_t width, const QuantisedRows& y) {
  for (std::int64_t r = 0; r < rows; ++r, x += width) {
    float least = 0;
    float most = 0;
    for (std::int64_t i = 0; i < width; ++i) {
      least = std::min(least, x[i]);
      most = std::max(most, x[i]);
    }
    const Grid grid = Grid::over(least, most);
    std::uint8_t* const row = y.values + r * y.stride;
    for (std::int64_t i = 0; i < width; ++i) row[i] = grid.integer(x[i]);
    std::fill(row + width, row + round_up(width, kUnit), std::uint8_t{0});
    y.scale[r] = grid.scale;
    y.zero[r] = grid.zero;
  }
}

void linear_portable(const QuantisedRows& x, std::int64_t rows, const PackedLinear& map, float* y) {
  const std::int64_t units = map.units();
  const auto* const sums = map.sums.const_data_ptr<std::int32_t>();
  const auto* const scale = map.scale.const_data_ptr<float>();
  const auto* const bias = map.bias.const_data_ptr<float>();
  const auto* panel = map.panels.const_data_ptr<std::int8_t>();
  for (std::int64_t column = 0; column < map.out; column += kPanel, panel += units * kPanel * kUnit) {
    for (std::int64_t r = 0; r < rows; ++r) {
      std::int32_t total[kPanel];
      for (std::int64_t i = 0; i < kPanel; ++i) total[i] = -x.zero[r] * sums[column + i];
      const std::uint8_t* const row = x.values + r * x.stride;
      for (std::int64_t u = 0; u < units; ++u) {
        for (std::int64_t i = 0; i < kPanel; ++i) {
          const std::int8_t* const weights = panel + (u * kPanel + i) * kUnit;
          for (std::int64_t k = 0; k < kUnit; ++k) total[i] += row[u * kUnit + k] * weights[k];
        }
      }
      const std::int64_t count = std::min(kPanel, map.out - column);
      for (std::int64_t i = 0; i < count; ++i) {
        y[r * map.out + column + i] = static_cast<float>(total[i]) * (x.scale[r] * scale[column + i]) + bias[column + i];
      }
    }
  }
}

}  // namespace

#if defined(__x86_64__)

bool available(Instructions instructions) {
  switch (instructions) {
    case Instructions::kPortable: return true;
    case Instructions::kAvx2:
      return __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0 &&
             __builtin_cpu_supports("f16c") != 0;
    case Instructions::kAvxVnni: return available(Instructions::kAvx2) && __builtin_cpu_supports("avxvnni") != 0;
    case Instructions::kAvx512: return avx512::available<std::uint8_t>();
  }
  return false;
}

Instructions best_instructions() {
  for (const auto instructions : {Instructions::kAvx512, Instructions::kAvxVnni, Instructions::kAvx2}) {
    if (available(instructions)) return instructions;
  }
  return Instructions::kPortable;
}

void quantise(Instructions instructions, const float* x, std::int64_t rows, std::int64_t width, const QuantisedRows& y) {
  switch (instructions) {
    case Instructions::kPortable: return quantise_portable(x, rows, width, y);
    case Instructions::kAvx2:
    case Instructions::kAvxVnni: return quantise_avx2(x, rows, width, y);
    case Instructions::kAvx512: return avx512::quantise<float>({x, width}, rows, width, y);
  }
}

void linear(Instructions instructions, const QuantisedRows& x, std::int64_t rows, const PackedLinear& map, float* y) {
  switch (instructions) {
    case Instructions::kPortable: return linear_portable(x, rows, map, y);
    case Instructions::kAvx2: return linear_avx2(x, rows, map, y);
    case Instructions::kAvxVnni: return linear_avx_vnni(x, rows, map, y);
    case Instructions::kAvx512: return avx512::linear<float>(x, rows, map, {y, map.out});
  }
}

#else

bool available(Instructions instructions) { return instructions == Instructions::kPortable; }
Instructions best_instructions() { return Instructions::kPortable; }

void quantise(Instructions, const float* x, std::int64_t rows, std::int64_t width, const QuantisedRows& y) {
  quantise_portable(x, rows, width, y);
}

void linear(Instructions, const QuantisedRows& x, std::int64_t rows, const PackedLinear& map, float* y) {
  linear_portable(x, rows, map, y);
}

#endif

}  // namespace taesr::int8
