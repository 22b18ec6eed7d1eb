#include "index/sparse_codec.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include <c10/util/Half.h>

#include "core/byte_io.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

constexpr float kLargestHalf = 65504;
constexpr std::uint16_t kInfiniteHalf = 0x7c00;

}  // namespace

void check_sparse(const SparseVector& vector, const std::string& what) {
  int previous = -1;
  for (const PieceWeight& entry : vector) {
    if (entry.piece <= previous || !(entry.weight > 0) || !std::isfinite(entry.weight)) {
      throw InvalidArgument(what + " has piece " + std::to_string(entry.piece) + " of weight " +
                            std::to_string(entry.weight) +
                            "; pieces must ascend from 0, and weights be finite and above 0");
    }
    previous = entry.piece;
  }
}

std::vector<std::byte> encode_sparse(const SparseVector& vector) {
  check_sparse(vector, "a sparse vector");
  std::uint32_t count = 0;
  int previous = -1;
  ByteWriter pieces;
  ByteWriter weights;
  for (const PieceWeight& entry : vector) {
    const std::uint16_t half = c10::detail::fp16_ieee_from_fp32_value(std::min(entry.weight, kLargestHalf));
    if (half == 0) continue;
    pieces.put_varint(static_cast<std::uint32_t>(entry.piece - previous));
    weights.put(half);
    previous = entry.piece;
    ++count;
  }
  ByteWriter all;
  all.put_varint(count);
  all.put_text(pieces.bytes());
  all.put_text(weights.bytes());
  const auto bytes = std::as_bytes(std::span(all.bytes()));
  return {bytes.begin(), bytes.end()};
}

SparseVector decode_sparse(std::span<const std::byte> bytes, const std::string& name) {
  ByteReader reader({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, name);
  const std::uint32_t count = reader.get_varint();
  if (count > reader.remaining() / 3) reader.fail("claims more pieces than it has bytes for");
  SparseVector vector(count);
  std::int64_t piece = -1;
  for (PieceWeight& entry : vector) {
    const std::uint32_t step = reader.get_varint();
    piece += step;
    if (step == 0 || piece > INT32_MAX) reader.fail("has pieces out of order");
    entry.piece = static_cast<int>(piece);
  }
  for (PieceWeight& entry : vector) {
    const auto half = reader.get<std::uint16_t>();
    if (half == 0 || half >= kInfiniteHalf) reader.fail("has a weight that is not finite and above 0");
    entry.weight = c10::detail::fp16_ieee_to_fp32_value(half);
  }
  reader.expect_end();
  return vector;
}

float dot(const SparseVector& a, const SparseVector& b) {
  float sum = 0;
  auto other = b.begin();
  for (const PieceWeight& entry : a) {
    while (other != b.end() && other->piece < entry.piece) ++other;
    if (other == b.end()) break;
    if (other->piece == entry.piece) sum += entry.weight * other->weight;
  }
  return sum;
}

}  // namespace taesr
