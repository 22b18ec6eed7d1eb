#include "taesr/retriever.h"

#include <algorithm>
#include <chrono>
#include <unordered_map>

#include "core/utf8.h"
#include "index/unicode.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

constexpr std::size_t kMaxK = 10000;

using Clock = std::chrono::steady_clock;

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

void check_options(const SearchOptions& options, const Collection& collection) {
  if (options.k < 1 || options.k > kMaxK) {
    throw InvalidArgument("k is " + std::to_string(options.k) + "; it must be 1 to " + std::to_string(kMaxK));
  }
  const std::size_t dimension = collection.embedder().dimension();
  if (options.dim > dimension) {
    throw InvalidArgument("dim is " + std::to_string(options.dim) + "; it must be 0 (all) or 1 to " +
                          std::to_string(dimension));
  }
}

/// The query as valid UTF-8 without NUL bytes: what is neither becomes a replacement character or a space.
std::string clean_query(const std::string& query) {
  std::string clean;
  for (std::size_t position = 0; position < query.size();) {
    const detail::CodePoint character = detail::decode_utf8(query, position);
    append_utf8(clean, character.value == 0 ? U' ' : character.value);
    position += character.length;
  }
  return clean;
}

bool is_blank(const std::string& text) { return text.find_first_not_of(" \t\r\n") == std::string::npos; }

/// A head's name and its candidates, best first.
struct HeadResult {
  const char* head;
  std::vector<Candidate> candidates;
};

HeadResult search_dense_head(const Collection& collection, const std::string& query, std::size_t count,
                             const SearchOptions& options, SearchResult& result) {
  const Clock::time_point start = Clock::now();
  const Embeddings made = collection.embedder().embed(std::span(&query, 1), Role::kQuery, options.depth);
  if (made.vectors.rows != 1) throw InvalidArgument("the embedder returned no vector for the query");
  if (!made.depths.empty()) result.depth = made.depths.front();
  result.timings.encode = milliseconds_since(start);
  std::span<const float> vector = made.vectors.row(0);
  if (options.dim > 0) vector = vector.first(options.dim);
  return {"dense", collection.search_dense(vector, count, options.filter)};
}

/// Hits for the best candidates, with what each head said about them.
std::vector<Hit> make_hits(const Collection& collection, const std::vector<Candidate>& best,
                           const std::vector<HeadResult>& heads) {
  std::vector<std::int64_t> ids;
  std::unordered_map<std::int64_t, double> scores;
  for (const Candidate& candidate : best) {
    ids.push_back(candidate.chunk);
    scores[candidate.chunk] = candidate.score;
  }
  std::vector<Hit> hits;
  std::unordered_map<std::int64_t, std::size_t> position;
  for (StoredChunk& chunk : collection.chunks(ids)) {
    position[chunk.id] = hits.size();
    const double score = scores[chunk.id];
    hits.push_back({std::move(chunk), score, {}, {}});
  }
  for (const HeadResult& head : heads) {
    for (std::size_t i = 0; i < head.candidates.size(); ++i) {
      const auto found = position.find(head.candidates[i].chunk);
      if (found == position.end()) continue;
      hits[found->second].ranks[head.head] = i + 1;
      hits[found->second].scores[head.head] = head.candidates[i].score;
    }
  }
  return hits;
}

}  // namespace

SearchMode parse_search_mode(const std::string& name) {
  if (name == "dense") return SearchMode::kDense;
  if (name == "keyword") return SearchMode::kKeyword;
  if (name == "hybrid") return SearchMode::kHybrid;
  throw InvalidArgument("search mode '" + name + "'; it must be dense, keyword or hybrid");
}

SearchResult search(const Collection& collection, const std::string& query, const SearchOptions& options) {
  const Clock::time_point start = Clock::now();
  check_options(options, collection);
  const std::string text = clean_query(query);
  SearchResult result;
  if (is_blank(text)) return result;  // nothing is asked for
  const bool fused = options.mode == SearchMode::kHybrid;
  const std::size_t count = fused ? std::max(options.candidates, options.k) : options.k;
  std::vector<HeadResult> heads;
  if (options.mode != SearchMode::kKeyword) {
    heads.push_back(search_dense_head(collection, text, count, options, result));
  }
  if (options.mode != SearchMode::kDense) {
    heads.push_back({"keyword", collection.search_keyword(text, count, options.filter)});
  }
  std::vector<Candidate> best = heads.front().candidates;
  if (fused) best = fuse_by_rank({heads[0].candidates, heads[1].candidates}, options.rrf_k);
  if (best.size() > options.k) best.resize(options.k);
  result.hits = make_hits(collection, best, heads);
  result.timings.total = milliseconds_since(start);
  result.timings.retrieve = result.timings.total - result.timings.encode;
  return result;
}

}  // namespace taesr
