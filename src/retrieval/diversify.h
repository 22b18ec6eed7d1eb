#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "taesr/matrix.h"

namespace taesr {

/// A choice of maximal marginal relevance.
struct Diverse {
  std::size_t position = 0;  // in the candidates given
  double redundancy = 0;     // its largest cosine with those chosen before; 0 for the first
};

/// Maximal marginal relevance (Carbonell and Goldstein 1998): chooses k candidates one by one, each the
/// largest of lambda * relevance - (1 - lambda) * redundancy. Relevance is `scores` scaled to 0 to 1, so
/// that scores of any head can be weighed against cosines; equal values go to the earlier candidate.
///
/// `scores` [candidates]; `vectors` unit rows [candidates, dimension]; `lambda` 0 to 1.
[[nodiscard]] std::vector<Diverse> diversify(std::span<const double> scores, const Matrix& vectors,
                                             double lambda, std::size_t k);

}  // namespace taesr
