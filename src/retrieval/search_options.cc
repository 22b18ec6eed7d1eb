#include "retrieval/search_options.h"

#include <algorithm>
#include <string>
#include <vector>

#include "taesr/errors.h"

namespace taesr {
namespace {

constexpr std::size_t kMaxK = 10000;
constexpr std::size_t kMaxExpand = 100;

/// Fails for NaN, too.
void check_share(const char* name, const std::optional<double>& value) {
  if (value && !(*value >= 0 && *value <= 1)) {
    throw InvalidArgument(std::string(name) + " is " + std::to_string(*value) + "; it must be from 0 to 1");
  }
}

void check_head(const std::string& name, const std::vector<std::string>& heads,
                const Collection& collection) {
  if (std::ranges::find(heads, name) != heads.end()) return;
  const ExtraHeads known = collection.embedder().extra_heads();
  const bool possible = name == "sparse" ? known.sparse : known.late;
  throw InvalidArgument("the collection has no " + name + " head" +
                        (possible ? "; add it with add_heads (taesr ingest --heads " + name + "), or "
                                  : ", and its model has none; ") +
                        "use mode hybrid, dense or keyword");
}

}  // namespace

SearchMode parse_search_mode(const std::string& name) {
  if (name == "dense") return SearchMode::kDense;
  if (name == "keyword") return SearchMode::kKeyword;
  if (name == "sparse") return SearchMode::kSparse;
  if (name == "late") return SearchMode::kLate;
  if (name == "hybrid") return SearchMode::kHybrid;
  throw InvalidArgument("search mode '" + name + "'; it must be dense, keyword, sparse, late or hybrid");
}

void check_search_options(const SearchOptions& options, const Collection& collection) {
  if (options.k < 1 || options.k > kMaxK) {
    throw InvalidArgument("k is " + std::to_string(options.k) + "; it must be 1 to " + std::to_string(kMaxK));
  }
  const std::size_t dimension = collection.embedder().dimension();
  if (options.dim > dimension) {
    throw InvalidArgument("dim is " + std::to_string(options.dim) + "; it must be 0 (all) or 1 to " +
                          std::to_string(dimension));
  }
  if (options.expand > kMaxExpand) {
    throw InvalidArgument("expand is " + std::to_string(options.expand) + "; it must be 0 to " +
                          std::to_string(kMaxExpand));
  }
  check_share("mmr", options.mmr);
  check_share("effort", options.effort);
  if (options.effort && options.depth != "auto") {
    throw InvalidArgument("effort chooses the depth, but depth is '" + options.depth +
                          "'; leave depth at auto, or leave effort out");
  }
  const bool single = options.mode == SearchMode::kSparse || options.mode == SearchMode::kLate;
  if (options.effort && single) {
    throw InvalidArgument(
        "effort goes by the scores of the dense head; use mode dense or hybrid, or leave it out");
  }
  const std::vector<std::string> heads = collection.heads();
  if (single) check_head(options.mode == SearchMode::kSparse ? "sparse" : "late", heads, collection);
  if (options.mode == SearchMode::kHybrid) {
    check_fusion(options.fusion, heads);
  } else {
    check_fusion(options.fusion, {});
  }
}

}  // namespace taesr
