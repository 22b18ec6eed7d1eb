#pragma once

#include <cstdint>
#include <span>

#include <ATen/core/Tensor.h>

namespace taesr {

/// Short sequences side by side in windows of one width, so that a device whose attention kernels work on
/// blocks of 128 rows does not spend a block on every short text. Sequences see only themselves.
struct AttentionWindows {
  static constexpr std::int64_t kWidth = 128;

  at::Tensor slots;    // int64 [windows * kWidth]: the token in each place; filling repeats token 0
  at::Tensor places;   // int64 [tokens]: the place of each token
  at::Tensor groups;   // int32 [windows, kWidth]: the sequence in each place, -1 for filling

  /// Packs sequences of at most kWidth tokens, in their order. `offsets` [sequences + 1], from 0 or more on;
  /// token numbers are relative to the first offset.
  [[nodiscard]] static AttentionWindows plan(std::span<const std::int64_t> offsets, at::Device device);

  /// Additive mask [windows, 1, kWidth, kWidth]: 0 inside a sequence, -inf between sequences.
  [[nodiscard]] at::Tensor mask(at::ScalarType dtype) const;
};

/// Attention of the planned sequences: qkv [tokens, 3 * hidden] -> [tokens, hidden]. Differentiable in qkv.
[[nodiscard]] at::Tensor windowed_attention(const at::Tensor& qkv, const AttentionWindows& windows,
                                            const at::Tensor& mask, std::int64_t heads);

}  // namespace taesr
