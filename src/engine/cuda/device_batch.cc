#include "engine/cuda/device_batch.h"

#include <algorithm>
#include <bit>

#include <ATen/ops/empty.h>

#include "kernels/tile_attention.h"

namespace taesr {
namespace {

std::int64_t tiles_in(std::int64_t length, int rows) { return (length + rows - 1) / rows; }

/// Powers of two, and one and a half times them.
std::int64_t round_up(std::int64_t count, std::int64_t least) {
  const auto power = static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(std::max(count, least))));
  const std::int64_t middle = power / 4 * 3;
  return middle >= std::max(count, least) ? middle : power;
}

template <class Write>
at::Tensor send(std::int64_t size, at::Device device, const Write& write) {
  auto host = staging({size}, at::kInt, device);
  write(std::span<std::int32_t>(host.mutable_data_ptr<std::int32_t>(), static_cast<std::size_t>(size)));
  return host.to(device, /*non_blocking=*/true);
}

}  // namespace

void HostBatch::append(std::span<const int> ids, int role) {
  tokens.insert(tokens.end(), ids.begin(), ids.end());
  offsets.push_back(static_cast<std::int64_t>(tokens.size()));
  roles.push_back(role);
}

void Extent::add(std::int64_t length) {
  ++sequences;
  tokens += length;
  if (length <= kSmallTile) {
    small_tiles += tiles_in(length, kSmallTile);
  } else {
    large_tiles += tiles_in(length, kLargeTile);
  }
}

Extent extent_of(std::span<const std::int64_t> offsets, std::size_t sequences) {
  Extent extent;
  for (std::size_t i = 0; i < sequences; ++i) extent.add(offsets[i + 1] - offsets[i]);
  return extent;
}

Extent round_up(const Extent& extent) {
  Extent room;
  room.sequences = round_up(extent.sequences, 1);
  room.tokens = round_up(extent.tokens, 32);
  // Bounds for any batch of these sizes.
  if (extent.small_tiles > 0) room.small_tiles = room.sequences;
  if (extent.large_tiles > 0) room.large_tiles = room.tokens / kLargeTile + room.sequences;
  return room;
}

std::int64_t DeviceBatch::size_of(const Extent& room, bool with_tokens) {
  return room.sequences + 1 + 2 * (room.small_tiles + room.large_tiles) + (with_tokens ? 2 * room.tokens : 0);
}

DeviceBatch DeviceBatch::view(const at::Tensor& integers, const Extent& room, bool with_tokens) {
  std::int64_t next = 0;
  const auto take = [&](std::int64_t count) {
    next += count;
    return integers.narrow(0, next - count, count);
  };
  DeviceBatch batch;
  batch.borders = take(room.sequences + 1);
  batch.small_tiles = take(2 * room.small_tiles).view({-1, 2});
  batch.large_tiles = take(2 * room.large_tiles).view({-1, 2});
  if (with_tokens) {
    batch.tokens = take(room.tokens);
    batch.places = take(room.tokens);
  }
  return batch;
}

void write_layout(std::span<const std::int64_t> offsets, const Extent& room, std::span<std::int32_t> integers) {
  const std::size_t sequences = offsets.size() - 1;
  auto* border = integers.data();
  for (std::size_t i = 0; i <= static_cast<std::size_t>(room.sequences); ++i) {
    border[i] = static_cast<std::int32_t>(offsets[std::min(i, sequences)]);
  }
  auto* small = border + room.sequences + 1;
  auto* large = small + 2 * room.small_tiles;
  auto* const end = large + 2 * room.large_tiles;
  auto* const small_end = large;
  for (std::size_t i = 0; i < sequences; ++i) {
    const std::int64_t length = offsets[i + 1] - offsets[i];
    auto*& tile = length <= kSmallTile ? small : large;
    const int rows = length <= kSmallTile ? kSmallTile : kLargeTile;
    for (std::int64_t first = 0; first < length; first += rows) {
      *tile++ = static_cast<std::int32_t>(i);
      *tile++ = static_cast<std::int32_t>(first);
    }
  }
  std::fill(small, small_end, -1);
  std::fill(large, end, -1);
}

void write_batch(const HostBatch& batch, const Extent& room, std::span<std::int32_t> integers) {
  write_layout(batch.offsets, room, integers);
  auto* token = integers.data() + DeviceBatch::size_of(room, false);
  auto* place = token + room.tokens;
  std::fill(std::copy(batch.tokens.begin(), batch.tokens.end(), token), place, 0);
  for (std::size_t i = 0; i < batch.sequences(); ++i) {
    const std::int64_t length = batch.offsets[i + 1] - batch.offsets[i];
    for (std::int64_t position = 0; position < length; ++position) {
      *place++ = static_cast<std::int32_t>(2 * position + batch.roles[i]);
    }
  }
  std::fill(place, integers.data() + integers.size(), 0);
}

at::Tensor staging(at::IntArrayRef sizes, at::ScalarType dtype, at::Device device) {
  return at::empty(sizes, at::TensorOptions(dtype).pinned_memory(device.is_cuda()));
}

DeviceBatch send_batch(const HostBatch& batch, at::Device device) {
  const Extent extent = extent_of(batch.offsets, batch.sequences());
  const auto integers = send(DeviceBatch::size_of(extent, true), device,
                             [&](std::span<std::int32_t> into) { write_batch(batch, extent, into); });
  return DeviceBatch::view(integers, extent, true);
}

DeviceBatch send_layout(std::span<const std::int64_t> offsets, at::Device device) {
  const Extent extent = extent_of(offsets, offsets.size() - 1);
  const auto integers = send(DeviceBatch::size_of(extent, false), device,
                             [&](std::span<std::int32_t> into) { write_layout(offsets, extent, into); });
  return DeviceBatch::view(integers, extent, false);
}

}  // namespace taesr
