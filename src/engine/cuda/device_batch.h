#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include <ATen/core/Tensor.h>

namespace taesr {

/// Sequences laid end to end on the host.
struct HostBatch {
  std::vector<std::int32_t> tokens;         // [T]
  std::vector<std::int64_t> offsets = {0};  // [B + 1]
  std::vector<std::int32_t> roles;          // [B], values of taesr::Role

  void append(std::span<const int> ids, int role);
  [[nodiscard]] std::size_t sequences() const { return roles.size(); }
};

/// The first so many sequences of a batch: what one recursion works on. Also the sizes of its arrays.
struct Extent {
  std::int64_t sequences = 0;
  std::int64_t tokens = 0;
  std::int64_t small_tiles = 0;  // of attention, see kernels/tile_attention.h: of sequences of up to kSmallTile
  std::int64_t large_tiles = 0;  // of longer ones

  auto operator<=>(const Extent&) const = default;

  /// One sequence more.
  void add(std::int64_t length);
};

/// Of the first `sequences`.
[[nodiscard]] Extent extent_of(std::span<const std::int64_t> offsets, std::size_t sequences);

/// Somewhat larger sizes, of which there are few: batches of the same ones can share a recorded graph.
[[nodiscard]] Extent round_up(const Extent& extent);

/// Where the sequences lie, and what is in them, on the device. Beyond the true sizes there is filling: sequences
/// without tokens, tiles of no sequence, tokens that no sequence has.
struct DeviceBatch {
  at::Tensor borders;      // int32 [sequences + 1]
  at::Tensor small_tiles;  // int32 [small_tiles, 2]
  at::Tensor large_tiles;  // int32 [large_tiles, 2]
  at::Tensor tokens;       // int32 [tokens]; not where only the layout is wanted
  at::Tensor places;       // int32 [tokens]: 2 * position + role

  /// Parts of `integers`, int32 [size_of(room)], as `write_batch` or `write_layout` fill them.
  [[nodiscard]] static DeviceBatch view(const at::Tensor& integers, const Extent& room, bool with_tokens);
  [[nodiscard]] static std::int64_t size_of(const Extent& room, bool with_tokens);
};

void write_layout(std::span<const std::int64_t> offsets, const Extent& room, std::span<std::int32_t> integers);
void write_batch(const HostBatch& batch, const Extent& room, std::span<std::int32_t> integers);

/// A new host tensor that the device copies from without waiting; pinned memory for CUDA.
[[nodiscard]] at::Tensor staging(at::IntArrayRef sizes, at::ScalarType dtype, at::Device device);

/// Both at once: writes and sends.
[[nodiscard]] DeviceBatch send_batch(const HostBatch& batch, at::Device device);
[[nodiscard]] DeviceBatch send_layout(std::span<const std::int64_t> offsets, at::Device device);

}  // namespace taesr
