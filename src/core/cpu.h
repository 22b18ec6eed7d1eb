#pragma once

#include "taesr/export.h"

namespace taesr {

/// True where bfloat16 matrix products have instructions of their own (AMX-BF16 or AVX-512 BF16).
[[nodiscard]] TAESR_API bool cpu_multiplies_bfloat16();

}  // namespace taesr
