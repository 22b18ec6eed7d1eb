#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include <ATen/core/Tensor.h>

#include "kernels/windowed_attention.h"
#include "taesr/config.h"
#include "taesr/export.h"

namespace taesr {

/// Sequences laid end to end, without padding: special tokens included, at least one token each.
struct TAESR_API PackedBatch {
  at::Tensor tokens;                  // int64 [T]
  std::vector<std::int64_t> offsets;  // [B + 1]
  at::Tensor roles;                   // int64 [B], values of taesr::Role

  [[nodiscard]] std::int64_t sequences() const { return static_cast<std::int64_t>(offsets.size()) - 1; }

  /// Throws InvalidArgument for sequences that are empty or too long; does not read the tensors.
  void validate_shape(const TAESRConfig& config) const;

  /// As `validate_shape`, and for ids or roles out of range. Waits for the device of the tensors.
  void validate(const TAESRConfig& config) const;
};

/// Neighbouring sequences that one call of a fused attention kernel works on.
struct AttentionSpan {
  std::int64_t first = 0;    // sequence
  std::int64_t last = 0;     // sequence, excluded
  std::int64_t longest = 0;  // tokens
  at::Tensor offsets;        // int32 [last - first + 1], from 0, on the device
  std::optional<AttentionWindows> windows;  // of many short sequences
};

/// Where the sequences of a packed batch lie, on the host and on its device: computed once a batch,
/// for every layer and head.
struct TAESR_API PackedLayout {
  std::vector<std::int64_t> offsets;  // [B + 1]
  at::Tensor starts;                  // int64 [B]
  at::Tensor lengths;                 // int64 [B]
  at::Tensor sequence;                // int64 [T], each token's
  at::Tensor positions;               // int64 [T], each token's in its sequence
  std::vector<AttentionSpan> spans;   // on CUDA only

  /// Throws InvalidArgument for offsets that do not rise from 0.
  PackedLayout(std::vector<std::int64_t> offsets, at::Device device);

  /// Layout of a part of each sequence's tokens, with the spans of the whole.
  [[nodiscard]] PackedLayout part(std::vector<std::int64_t> part_offsets) const;

  [[nodiscard]] std::int64_t sequences() const { return static_cast<std::int64_t>(offsets.size()) - 1; }
  [[nodiscard]] std::int64_t tokens() const { return offsets.back(); }

 private:
  void add_span(std::int64_t first, std::int64_t last);
};

}  // namespace taesr
