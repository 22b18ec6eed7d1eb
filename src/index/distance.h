#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace taesr {

/// Sum of a[i] * b[i] over n values, which need no alignment.
using InnerProduct = float (*)(const float* a, const float* b, std::size_t n);

/// The same of IEEE 754 binary16 values.
using HalfProduct = float (*)(const std::uint16_t* a, const std::uint16_t* b, std::size_t n);
/// The same of whole numbers, at most 65536 of them.
using Int8Product = std::int32_t (*)(const std::int8_t* a, const std::int8_t* b, std::size_t n);

/// The fastest that this machine runs, chosen once.
[[nodiscard]] InnerProduct best_inner_product();
[[nodiscard]] HalfProduct best_half_product();
[[nodiscard]] Int8Product best_int8_product();

/// All that this machine runs, by name, the fastest first; "portable" is always the last.
[[nodiscard]] std::vector<std::pair<std::string, InnerProduct>> inner_products();
[[nodiscard]] std::vector<std::pair<std::string, HalfProduct>> half_products();
[[nodiscard]] std::vector<std::pair<std::string, Int8Product>> int8_products();

}  // namespace taesr
