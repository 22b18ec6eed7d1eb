#pragma once

#include <cstdint>

namespace taesr {

/// Entries of a page of keys and values.
inline constexpr int kDecodePage = 16;

/// What a row of a decoder's pass knows of its token. Rows of int32 tensors [rows, 8].
struct DecodeRow {
  std::int32_t id = 0;         // of the token
  std::int32_t state = -1;     // where its states are kept between passes; -1: the row is padding
  std::int32_t recursion = 0;  // that it passes; -1: it has yet to begin with the first
  std::int32_t position = 0;
  std::int32_t visible = 0;    // entries that it sees: the first of its list
  std::int32_t entry = -1;     // of the list, where its keys and values go; -1: they are not kept
  std::int32_t list = 0;       // where the addresses of its list's pages begin
  std::int32_t slot = 0;       // what is added to a call's slot, its place in a page
};

/// Most values that decode_top finds, and what it says of a row where it gives up.
inline constexpr int kMostTop = 256;
inline constexpr std::int32_t kTopCrowded = -2;

inline constexpr int kDecodeFields = 8;
static_assert(sizeof(DecodeRow) == kDecodeFields * sizeof(std::int32_t));

}  // namespace taesr
