#include "taesr/retriever.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <thread>
#include <unordered_map>
#include <unordered_set>

#include "core/utf8.h"
#include "index/distance.h"
#include "core/parallel.h"
#include "index/unicode.h"
#include "retrieval/diversify.h"
#include "retrieval/effort.h"
#include "retrieval/passages.h"
#include "retrieval/query_vectors.h"
#include "retrieval/search_options.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kCandidates = 100;  // of each head

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
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

/// Cosine of a query with a stored vector, over the query's values.
float cosine(std::span<const float> query, std::span<const float> vector) {
  const InnerProduct product = best_inner_product();
  const float length = std::sqrt(product(query.data(), query.data(), query.size()) *
                                 product(vector.data(), vector.data(), query.size()));
  return length > 0 ? product(query.data(), vector.data(), query.size()) / length : 0;
}

/// Texts that share no piece with the query score nothing, which is what they are listed with.
void add_zeros(HeadList& list, std::span<const std::int64_t> ids) {
  std::unordered_set<std::int64_t> known;
  for (const Candidate& candidate : list.candidates) known.insert(candidate.chunk);
  for (const std::int64_t id : ids) {
    if (known.insert(id).second) list.candidates.push_back({id, 0});
  }
}

/// One query's way from text to hits.
class Search {
 public:
  Search(const Collection& collection, const std::string& query, const SearchOptions& options)
      : collection_(collection), options_(options), heads_(collection.heads()) {
    query_.text = clean_query(query);
    query_.depth = options.depth;
    if (options.effort) query_.depth = *options.effort < 1 ? "easy" : "hard";
    asked_ = !is_blank(query_.text);
    if (searches(SearchMode::kSparse)) query_.heads.sparse = has("sparse");
    if (searches(SearchMode::kLate)) query_.heads.late = has("late");
  }

  /// The query where it has to be embedded, or null.
  [[nodiscard]] QueryVector* to_embed() {
    return asked_ && options_.mode != SearchMode::kKeyword ? &query_ : nullptr;
  }

  /// The same for the second step of a progressive search, once the first was embedded.
  [[nodiscard]] QueryVector* to_embed_again() {
    if (to_embed() == nullptr || !options_.effort || *options_.effort >= 1) return nullptr;
    const Clock::time_point start = Clock::now();
    find_dense();
    milliseconds_ += milliseconds_since(start);
    if (!margin_is_thin(lists_.front().candidates, *options_.effort)) return nullptr;
    lists_.clear();
    query_.depth = "hard";
    return &query_;
  }

  [[nodiscard]] SearchResult run();

 private:
  /// Whether the head of that mode is asked, by itself or in a hybrid search.
  [[nodiscard]] bool searches(SearchMode mode) const {
    return options_.mode == mode || options_.mode == SearchMode::kHybrid;
  }
  [[nodiscard]] bool has(const std::string& head) const {
    return std::ranges::find(heads_, head) != heads_.end();
  }
  [[nodiscard]] std::size_t pool() const;
  void find_dense();
  void find_all();
  [[nodiscard]] std::vector<Candidate> find_late() const;
  void complete(HeadList& list, std::span<const std::int64_t> ids) const;
  [[nodiscard]] std::vector<FusedCandidate> fused();
  [[nodiscard]] std::vector<Hit> chosen(std::vector<FusedCandidate> ranked) const;
  void describe(Hit& hit, const FusedCandidate& candidate) const;
  void explain(std::vector<Hit>& hits, const std::vector<FusedCandidate>& candidates) const;

  const Collection& collection_;
  const SearchOptions& options_;
  std::vector<std::string> heads_;  // of the collection
  QueryVector query_;
  bool asked_ = false;
  double milliseconds_ = 0;         // of retrieval before `run`
  std::vector<HeadList> lists_;     // what each head found, by name: the order in which shares are added
  std::vector<HeadList> complete_;  // with weighted fusion, the same with the others' candidates
};

/// Candidates to take from each head: more than k where the final order is another than theirs.
std::size_t Search::pool() const {
  const bool reordered = options_.mode == SearchMode::kHybrid || options_.mmr || options_.expand > 0;
  if (!reordered) return options_.k;
  return options_.candidates > 0 ? options_.candidates : std::max(kCandidates, options_.k);
}

void Search::find_dense() {
  std::span<const float> vector = query_.values;
  if (options_.dim > 0) vector = vector.first(options_.dim);
  std::size_t count = pool();
  if (options_.effort) count = std::max(count, kMarginAt + 1);
  lists_.push_back({"dense", collection_.search_dense(vector, count, options_.filter)});
}

void Search::find_all() {
  if (lists_.empty() && searches(SearchMode::kDense)) find_dense();
  if (searches(SearchMode::kKeyword)) {
    lists_.push_back({"keyword", collection_.search_keyword(query_.text, pool(), options_.filter)});
  }
  if (query_.heads.sparse) {
    lists_.push_back({"sparse", collection_.search_sparse(query_.sparse, pool(), options_.filter)});
  }
  if (query_.heads.late) lists_.push_back({"late", find_late()});
  std::ranges::sort(lists_, {}, &HeadList::head);
}

/// By itself the head proposes candidates by its centroids; beside others it scores theirs.
std::vector<Candidate> Search::find_late() const {
  if (options_.mode == SearchMode::kLate)
    return collection_.search_late(query_.late, pool(), options_.filter);
  std::vector<std::int64_t> ids;
  for (const HeadList& list : lists_) {
    for (const Candidate& candidate : list.candidates) ids.push_back(candidate.chunk);
  }
  std::vector<Candidate> scored = collection_.score_late(query_.late, ids);
  scored.resize(std::min(scored.size(), pool()));
  return scored;
}

/// Adds the head's scores of further chunks.
void Search::complete(HeadList& list, std::span<const std::int64_t> ids) const {
  if (list.head == "dense") {
    std::span<const float> vector = query_.values;
    if (options_.dim > 0) vector = vector.first(options_.dim);
    const Matrix vectors = collection_.embeddings(ids).vectors;
    for (std::size_t i = 0; i < ids.size(); ++i) {
      list.candidates.push_back({ids[i], cosine(vector, vectors.row(i).first(vector.size()))});
    }
    return;
  }
  if (list.head == "sparse" || list.head == "late") {
    const bool sparse = list.head == "sparse";
    const auto scored =
        sparse ? collection_.score_sparse(query_.sparse, ids) : collection_.score_late(query_.late, ids);
    list.candidates.insert(list.candidates.end(), scored.begin(), scored.end());
    if (sparse) add_zeros(list, ids);
    return;
  }
  const auto terms = collection_.keyword_terms(query_.text, ids);
  for (std::size_t i = 0; i < ids.size(); ++i) {
    float score = 0;
    for (const TermScore& term : terms[i]) score += term.score;
    list.candidates.push_back({ids[i], score});
  }
}

std::vector<FusedCandidate> Search::fused() {
  if (lists_.size() == 1) {
    std::vector<FusedCandidate> ranked;
    for (const auto& [chunk, score] : lists_.front().candidates) ranked.push_back({chunk, score, {score}});
    return ranked;
  }
  if (options_.fusion.method == FusionMethod::kReciprocalRank) return fuse(lists_, options_.fusion);
  complete_ = lists_;
  const std::vector<std::int64_t> all = standard_scores(lists_).chunks;
  for (HeadList& list : complete_) {
    std::vector<std::int64_t> known;
    for (const Candidate& candidate : list.candidates) known.push_back(candidate.chunk);
    std::sort(known.begin(), known.end());
    std::vector<std::int64_t> missing;
    std::set_difference(all.begin(), all.end(), known.begin(), known.end(), std::back_inserter(missing));
    complete(list, missing);
  }
  return fuse(complete_, options_.fusion);
}

/// Fills in what the heads said about a hit.
void Search::describe(Hit& hit, const FusedCandidate& candidate) const {
  hit.score = candidate.score;
  const auto is_it = [&](const Candidate& found) { return found.chunk == candidate.chunk; };
  for (const HeadList& list : lists_) {
    const auto found = std::ranges::find_if(list.candidates, is_it);
    if (found == list.candidates.end()) continue;
    hit.ranks[list.head] = static_cast<std::size_t>(found - list.candidates.begin()) + 1;
    hit.scores[list.head] = found->score;
  }
  for (const HeadList& list : complete_) {
    const auto found = std::ranges::find_if(list.candidates, is_it);
    if (found != list.candidates.end()) hit.scores[list.head] = found->score;
  }
}

void Search::explain(std::vector<Hit>& hits, const std::vector<FusedCandidate>& candidates) const {
  std::vector<std::int64_t> ids;
  for (const Hit& hit : hits) ids.push_back(hit.chunk.id);
  auto terms = collection_.keyword_terms(query_.text, ids);
  const std::vector<int> depths = collection_.embeddings(ids).depths;
  for (std::size_t i = 0; i < hits.size(); ++i) {
    Explanation& explanation = hits[i].explanation ? *hits[i].explanation : hits[i].explanation.emplace();
    const auto candidate = std::ranges::find(candidates, hits[i].chunk.id, &FusedCandidate::chunk);
    for (std::size_t l = 0; l < lists_.size(); ++l) {
      explanation.contributions[lists_[l].head] = candidate->shares[l];
    }
    explanation.terms = std::move(terms[i]);
    explanation.depth = depths[i];
  }
}

/// The k best of `ranked`, in order: diversified, joined with their neighbours and explained as asked for.
std::vector<Hit> Search::chosen(std::vector<FusedCandidate> ranked) const {
  std::unordered_map<std::int64_t, double> redundancy;
  const std::size_t wanted = options_.expand > 0 ? ranked.size() : options_.k;
  if (options_.mmr) {
    ranked.resize(std::min(ranked.size(), std::max(pool(), options_.k)));
    std::vector<std::int64_t> ids;
    std::vector<double> scores;
    for (const FusedCandidate& candidate : ranked) {
      ids.push_back(candidate.chunk);
      scores.push_back(candidate.score);
    }
    std::vector<FusedCandidate> diverse;
    const Matrix vectors = collection_.embeddings(ids).vectors;
    for (const auto& [position, largest_cosine] : diversify(scores, vectors, *options_.mmr, wanted)) {
      diverse.push_back(std::move(ranked[position]));
      redundancy[diverse.back().chunk] = largest_cosine;
    }
    ranked = std::move(diverse);
  }
  ranked.resize(std::min(ranked.size(), wanted));
  std::vector<std::int64_t> ids;
  for (const FusedCandidate& candidate : ranked) ids.push_back(candidate.chunk);
  std::vector<Hit> hits;
  if (options_.expand > 0) {
    for (JoinedPassage& passage : join_neighbours(collection_, ids, options_.expand, options_.k)) {
      hits.push_back({std::move(passage.chunk), 0, {}, {}, std::move(passage.members), {}});
    }
  } else {
    for (StoredChunk& chunk : collection_.chunks(ids)) hits.push_back({std::move(chunk), 0, {}, {}, {}, {}});
  }
  for (Hit& hit : hits) describe(hit, *std::ranges::find(ranked, hit.chunk.id, &FusedCandidate::chunk));
  if (!options_.explain) return hits;
  explain(hits, ranked);
  if (options_.mmr) {
    for (Hit& hit : hits) hit.explanation->redundancy = redundancy.at(hit.chunk.id);
  }
  return hits;
}

SearchResult Search::run() {
  SearchResult result;
  if (!asked_) return result;  // nothing is asked for
  const Clock::time_point start = Clock::now();
  find_all();
  result.hits = chosen(fused());
  result.depth = query_.used_depth;
  result.timings.encode = query_.milliseconds;
  result.timings.retrieve = milliseconds_ + milliseconds_since(start);
  result.timings.total = result.timings.encode + result.timings.retrieve;
  return result;
}

}  // namespace

SearchResult search(const Collection& collection, const std::string& query, const SearchOptions& options) {
  return std::move(search_batch(collection, std::span(&query, 1), std::span(&options, 1)).front());
}

std::vector<SearchResult> search_batch(const Collection& collection, std::span<const std::string> queries,
                                       std::span<const SearchOptions> options) {
  if (options.size() != 1 && options.size() != queries.size()) {
    throw InvalidArgument(std::to_string(options.size()) + " options for " + std::to_string(queries.size()) +
                          " queries; give one for all or one for each");
  }
  for (const SearchOptions& each : options) check_search_options(each, collection);
  std::vector<Search> searches;
  searches.reserve(queries.size());
  for (std::size_t i = 0; i < queries.size(); ++i) {
    searches.emplace_back(collection, queries[i], options[options.size() == 1 ? 0 : i]);
  }
  std::vector<QueryVector*> to_embed;
  for (Search& search : searches) to_embed.push_back(search.to_embed());
  std::erase(to_embed, nullptr);
  embed_queries(collection.embedder(), to_embed);
  const std::size_t threads =
      std::min<std::size_t>(std::max(1u, std::thread::hardware_concurrency()), queries.size());
  to_embed.assign(searches.size(), nullptr);
  parallel_for(0, searches.size(), threads,
               [&](std::size_t i) { to_embed[i] = searches[i].to_embed_again(); });
  std::erase(to_embed, nullptr);
  embed_queries(collection.embedder(), to_embed);
  std::vector<SearchResult> results(searches.size());
  parallel_for(0, searches.size(), threads, [&](std::size_t i) { results[i] = searches[i].run(); });
  return results;
}

}  // namespace taesr
