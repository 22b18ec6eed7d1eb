#pragma once

#include <cstdint>
#include <optional>

#include <ATen/core/Tensor.h>

#include "taesr/export.h"

namespace taesr {

// Which tokens of a packed batch go on: their numbers, ascending, by prefix sums and radix selection on CUDA.
// Offsets are int64 [sequences + 1]; sequences may be empty.

struct ActiveRows {
  at::Tensor rows;     // int64 [tokens]: the active tokens, then -1
  at::Tensor offsets;  // int64 [sequences + 1]: borders of the sequences in it
};

/// The true ones of mask, bool [tokens] (token choice: those above the threshold). Does not wait for the device:
/// how many there are is the last of the offsets.
[[nodiscard]] TAESR_API ActiveRows active_rows(const at::Tensor& mask, const at::Tensor& offsets);

/// In each sequence the kept_offsets[i + 1] - kept_offsets[i] tokens of the highest `scores`, float32 [tokens]
/// (expert choice); of equal ones the earlier, NaN below all. Those that are not `going`, bool [tokens], are
/// taken after the others. Int64 [kept], where `kept` is the last of kept_offsets, known to the host; no
/// sequence keeps more than it has.
[[nodiscard]] TAESR_API at::Tensor best_rows(const at::Tensor& scores, const std::optional<at::Tensor>& going,
                                             const at::Tensor& offsets, const at::Tensor& kept_offsets,
                                             std::int64_t kept);

}  // namespace taesr
