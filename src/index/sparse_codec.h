#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "taesr/export.h"
#include "taesr/sparse_vector.h"

namespace taesr {

/// Name and version of the encoding below.
inline constexpr std::string_view kSparseCodec = "varint-f16/1";

/// A sparse vector in about three bytes a piece: their number and the steps from piece to piece as LEB128,
/// then the weights as float16. Weights above 65504 become that, and those that float16 rounds to nothing
/// are left out. Throws InvalidArgument for a vector that does not follow the rules of SparseVector.
[[nodiscard]] TAESR_API std::vector<std::byte> encode_sparse(const SparseVector& vector);

/// Throws FormatError, with `name`, for bytes that `encode_sparse` cannot have made.
[[nodiscard]] TAESR_API SparseVector decode_sparse(std::span<const std::byte> bytes, const std::string& name);

/// Throws InvalidArgument, with `what`, unless pieces ascend from 0 and weights are finite and above zero.
TAESR_API void check_sparse(const SparseVector& vector, const std::string& what);

/// Sum of the products of the weights of pieces that both have, in the order of the pieces.
[[nodiscard]] TAESR_API float dot(const SparseVector& a, const SparseVector& b);

}  // namespace taesr
