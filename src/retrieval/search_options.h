#pragma once

#include "taesr/retriever.h"

namespace taesr {

/// Throws InvalidArgument for options out of range, or that contradict each other.
void check_search_options(const SearchOptions& options, const Collection& collection);

}  // namespace taesr
