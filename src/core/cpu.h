#pragma once

#include "taesr/export.h"

namespace taesr {

/// True where bfloat16 matrix products have instructions of their own (AMX-BF16 or AVX-512 BF16).
[[nodiscard]] TAESR_API bool cpu_multiplies_bfloat16();

/// True for AVX2, fused multiply-add and F16C: all processors with the first have them, not all virtual ones.
[[nodiscard]] TAESR_API bool cpu_has_avx2();

/// True for AVX-512 with its F, BW, VL and DQ parts.
[[nodiscard]] TAESR_API bool cpu_has_avx512();

/// True where bfloat16 is multiplied in tiles (AMX-BF16), many times faster than in vectors.
[[nodiscard]] TAESR_API bool cpu_has_bfloat16_tiles();

}  // namespace taesr
