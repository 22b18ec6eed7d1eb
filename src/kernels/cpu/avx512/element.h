#pragma once

#include <cstdint>

#include <c10/util/BFloat16.h>

// On each function: a whole file compiled for AVX-512 would hand the linker such copies of what it includes.
// Of BF16 and VNNI the compiler makes use where their intrinsics ask for it only.
#if defined(__x86_64__)
#define TAESR_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,avx512vnni,fma")))
#else
#define TAESR_AVX512
#endif

namespace taesr::avx512 {

/// True where the kernels of this folder run for elements of type E: AVX-512 (F, BW, VL, DQ) for float,
/// its BF16 instructions too for BFloat16, and VNNI for products of 8 bits, std::uint8_t. Nothing else here may be
/// called before that was asked.
template <class E>
[[nodiscard]] bool available();

/// All element types are multiplied in units of 32 bits: one float, or two BFloat16 or four integers of which the
/// products are summed. What holds for units holds for any of them.
template <class E>
inline constexpr std::int64_t kPerUnit = 4 / sizeof(E);

/// Columns of a panel: a matrix is stored as panels [units][kPanel], so that a kernel reads it front to back.
inline constexpr std::int64_t kPanel = 32;

/// Rows [rows] of E, `stride` elements apart.
template <class E>
struct Rows {
  E* data = nullptr;
  std::int64_t stride = 0;

  [[nodiscard]] E* row(std::int64_t i) const { return data + i * stride; }
  [[nodiscard]] Rows from(std::int64_t i) const { return {row(i), stride}; }
  operator Rows<const E>() const { return {data, stride}; }
};

}  // namespace taesr::avx512
