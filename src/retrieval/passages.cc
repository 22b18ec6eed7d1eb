#include "retrieval/passages.h"

#include <algorithm>
#include <map>
#include <optional>
#include <string>

namespace taesr {
namespace {

/// Chunks that stand in a row, by id.
struct Run {
  std::int64_t first = 0;
  std::int64_t last = 0;
  StoredChunk hit;
};

/// Chunks' ids and texts of one search: neighbours are asked for more than once.
class Neighbourhood {
 public:
  explicit Neighbourhood(const Collection& collection) : collection_(collection) {}

  /// The longest run of chunks around `hit`, at most `reach` on either side. A document's chunks are
  /// stored together and in order, so their ids follow each other.
  [[nodiscard]] Run around(const StoredChunk& hit, std::size_t reach) {
    const auto steps = static_cast<std::int64_t>(reach);
    fetch(hit.id - steps, hit.id + steps);
    Run run{hit.id, hit.id, hit};
    while (run.first > hit.id - steps && follows(run.first - 1, run.first)) --run.first;
    while (run.last < hit.id + steps && follows(run.last, run.last + 1)) ++run.last;
    return run;
  }

  /// Whether chunk `b` comes right behind chunk `a` in the same section.
  [[nodiscard]] bool follows(std::int64_t a, std::int64_t b) const {
    const auto before = chunks_.find(a);
    const auto behind = chunks_.find(b);
    return b == a + 1 && before != chunks_.end() && behind != chunks_.end() &&
           before->second.document == behind->second.document &&
           before->second.chunk.section == behind->second.chunk.section &&
           before->second.chunk.begin < behind->second.chunk.begin;
  }

  [[nodiscard]] const StoredChunk& chunk(std::int64_t id) const { return chunks_.at(id); }

 private:
  void fetch(std::int64_t first, std::int64_t last) {
    std::vector<std::int64_t> missing;
    for (std::int64_t id = std::max<std::int64_t>(first, 1); id <= last; ++id) {
      if (!chunks_.contains(id)) missing.push_back(id);
    }
    for (StoredChunk& chunk : collection_.chunks(missing)) chunks_.emplace(chunk.id, std::move(chunk));
  }

  const Collection& collection_;
  std::map<std::int64_t, StoredChunk> chunks_;
};

/// Makes an earlier run longer where `run` overlaps or touches it; false where there is none.
bool absorb(std::vector<Run>& runs, const Run& run, const Neighbourhood& chunks) {
  for (Run& earlier : runs) {
    const bool overlaps = run.first <= earlier.last && run.last >= earlier.first;
    const bool touches = chunks.follows(earlier.last, run.first) || chunks.follows(run.last, earlier.first);
    if (!overlaps && !touches) continue;
    earlier.first = std::min(earlier.first, run.first);
    earlier.last = std::max(earlier.last, run.last);
    return true;
  }
  return false;
}

/// A run that grew may have reached another.
void close_gaps(std::vector<Run>& runs, const Neighbourhood& chunks) {
  std::vector<Run> joined;
  for (const Run& run : runs) {
    if (!absorb(joined, run, chunks)) joined.push_back(run);
  }
  const bool again = joined.size() < runs.size();
  runs = std::move(joined);
  if (again) close_gaps(runs, chunks);
}

/// What stands between two chunks that do not touch: white space, which only the document has.
std::string between(const Collection& collection, const std::string& document, std::size_t begin,
                    std::size_t end) {
  const std::optional<Document> whole = collection.document(document);
  return whole && end <= whole->text.size() ? whole->text.substr(begin, end - begin)
                                            : std::string(end - begin, ' ');
}

JoinedPassage join(const Collection& collection, const Run& run, const Neighbourhood& chunks) {
  JoinedPassage passage{run.hit, {}};
  for (std::int64_t id = run.first; id <= run.last; ++id) {
    const Chunk& next = chunks.chunk(id).chunk;
    Chunk& all = passage.chunk.chunk;
    passage.members.push_back(id);
    if (id == run.first) {
      all = next;
      continue;
    }
    if (next.end <= all.end) continue;
    if (next.begin > all.end) all.text += between(collection, run.hit.document, all.end, next.begin);
    const std::size_t known = next.begin < all.end ? all.end - next.begin : 0;
    all.text += next.text.substr(known);
    all.end = next.end;
    all.tokens += next.tokens * (next.text.size() - known) / std::max<std::size_t>(next.text.size(), 1);
  }
  return passage;
}

}  // namespace

std::vector<JoinedPassage> join_neighbours(const Collection& collection, std::span<const std::int64_t> hits,
                                           std::size_t neighbours, std::size_t k) {
  Neighbourhood chunks(collection);
  std::vector<Run> runs;
  for (const StoredChunk& hit : collection.chunks(hits)) {
    const Run run = chunks.around(hit, neighbours);
    if (absorb(runs, run, chunks)) {
      close_gaps(runs, chunks);
    } else if (runs.size() < k) {
      runs.push_back(run);
    } else {
      break;
    }
  }
  std::vector<JoinedPassage> passages;
  for (const Run& run : runs) passages.push_back(join(collection, run, chunks));
  return passages;
}

}  // namespace taesr
