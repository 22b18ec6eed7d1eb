#pragma once

#include <cstdint>
#include <string_view>

namespace taesr {

/// XXH64 of `bytes` (Yann Collet, xxHash specification 0.1.1): finds damage, does not resist forgery.
[[nodiscard]] std::uint64_t xxh64(std::string_view bytes, std::uint64_t seed = 0);

}  // namespace taesr
