#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace taesr {

/// Sum of a[i] * b[i] over n values, which need no alignment.
using InnerProduct = float (*)(const float* a, const float* b, std::size_t n);

/// The fastest that this machine runs, chosen once.
[[nodiscard]] InnerProduct best_inner_product();

/// All that this machine runs, by name, the fastest first; "portable" is always the last.
[[nodiscard]] std::vector<std::pair<std::string, InnerProduct>> inner_products();

}  // namespace taesr
