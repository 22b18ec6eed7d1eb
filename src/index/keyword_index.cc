#include "index/keyword_index.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "index/analyzer.h"
#include "core/byte_io.h"
#include "index/top_k.h"

namespace taesr {
namespace {

constexpr std::uint32_t kIds = section_tag("IDS ");
constexpr std::uint32_t kDeleted = section_tag("DEAD");
constexpr std::uint32_t kLengths = section_tag("LENS");
constexpr std::uint32_t kTerms = section_tag("TERM");

/// How often each term occurs; sorted, so that sums of floats have one order.
std::map<std::string, std::uint32_t> count_terms(const std::vector<std::string>& terms) {
  std::map<std::string, std::uint32_t> counts;
  for (const std::string& term : terms) ++counts[term];
  return counts;
}

}  // namespace

void KeywordIndex::append(std::int64_t id, std::string_view text) {
  const std::vector<std::string> terms = analyze(text);
  const auto slot = static_cast<std::uint32_t>(ids_.size());
  for (const auto& [term, frequency] : count_terms(terms)) terms_[term].push_back({slot, frequency});
  ids_.push_back(id);
  lengths_.push_back(static_cast<std::uint32_t>(terms.size()));
  deleted_.push_back(0);
  ++live_count_;
  live_length_ += terms.size();
}

void KeywordIndex::remove(const IdList& ids) {
  for (const std::uint32_t slot : positions_of(ids, ids_)) {
    if (deleted_[slot] != 0) continue;
    deleted_[slot] = 1;
    --live_count_;
    live_length_ -= lengths_[slot];
  }
  if ((ids_.size() - live_count_) * 10 > ids_.size() * 3) drop_deleted();
}

void KeywordIndex::drop_deleted() {
  std::vector<std::uint32_t> moved(ids_.size());  // new slots by old
  std::uint32_t next = 0;
  for (std::size_t slot = 0; slot < ids_.size(); ++slot) {
    if (deleted_[slot] != 0) continue;
    ids_[next] = ids_[slot];
    lengths_[next] = lengths_[slot];
    moved[slot] = next++;
  }
  for (auto term = terms_.begin(); term != terms_.end();) {
    Postings& postings = term->second;
    std::erase_if(postings, [&](const Posting& posting) { return deleted_[posting.slot] != 0; });
    for (Posting& posting : postings) posting.slot = moved[posting.slot];
    term = postings.empty() ? terms_.erase(term) : std::next(term);
  }
  ids_.resize(next);
  lengths_.resize(next);
  deleted_.assign(next, 0);
}

std::vector<Candidate> KeywordIndex::search(std::string_view query, std::size_t k,
                                            const IdList* allowed) const {
  if (k == 0 || live_count_ == 0) return {};
  std::vector<float> scores(ids_.size());
  for (const auto& [term, count] : count_terms(analyze(query))) {
    const auto found = terms_.find(term);
    if (found == terms_.end()) continue;
    const double weight = count * idf(found->second);
    for (const Posting& posting : found->second) scores[posting.slot] += score(posting, weight);
  }
  TopK best(k);
  const auto offer = [&](std::uint32_t slot) {
    // Every shared term adds more than nothing.
    if (scores[slot] > 0 && deleted_[slot] == 0) best.offer({ids_[slot], scores[slot]});
  };
  if (allowed != nullptr) {
    for (const std::uint32_t slot : positions_of(*allowed, ids_)) offer(slot);
  } else {
    for (std::uint32_t slot = 0; slot < scores.size(); ++slot) offer(slot);
  }
  return best.take();
}

std::vector<std::vector<TermScore>> KeywordIndex::term_scores(std::string_view query,
                                                              std::span<const std::int64_t> ids) const {
  std::vector<std::vector<TermScore>> found(ids.size());
  for (const auto& [term, count] : count_terms(analyze(query))) {
    const auto postings = terms_.find(term);
    if (postings == terms_.end()) continue;
    const double weight = count * idf(postings->second);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const auto id = std::lower_bound(ids_.begin(), ids_.end(), ids[i]);
      if (id == ids_.end() || *id != ids[i]) continue;
      const auto slot = static_cast<std::uint32_t>(id - ids_.begin());
      const auto posting = std::lower_bound(postings->second.begin(), postings->second.end(), slot,
                                            [](const Posting& p, std::uint32_t s) { return p.slot < s; });
      if (posting == postings->second.end() || posting->slot != slot || deleted_[slot] != 0) continue;
      found[i].push_back({term, score(*posting, weight)});
    }
  }
  return found;
}

double KeywordIndex::idf(const Postings& postings) const {
  auto df = static_cast<double>(postings.size());
  if (live_count_ < ids_.size()) {
    const auto is_deleted = [&](const Posting& posting) { return deleted_[posting.slot] != 0; };
    df -= static_cast<double>(std::count_if(postings.begin(), postings.end(), is_deleted));
  }
  return std::log(1 + (static_cast<double>(live_count_) - df + 0.5) / (df + 0.5));
}

/// `weight` is the term's idf times how often it stands in the query.
float KeywordIndex::score(const Posting& posting, double weight) const {
  const double scale = kK1 * kB * static_cast<double>(live_count_) / static_cast<double>(live_length_);
  const double saturation = kK1 * (1 - kB) + scale * lengths_[posting.slot];
  return static_cast<float>(weight * posting.frequency / (posting.frequency + saturation));
}

IdList KeywordIndex::live_ids() const {
  IdList ids;
  for (std::size_t slot = 0; slot < ids_.size(); ++slot) {
    if (deleted_[slot] == 0) ids.push_back(ids_[slot]);
  }
  return ids;
}

std::vector<IndexSection> KeywordIndex::save() const {
  ByteWriter ids;
  ByteWriter deleted;
  ByteWriter lengths;
  ids.put_all(ids_.data(), ids_.size());
  deleted.put_all(deleted_.data(), deleted_.size());
  lengths.put_all(lengths_.data(), lengths_.size());
  // Sorted, so that equal content makes equal bytes and a reader can see that no term comes twice.
  std::vector<const std::pair<const std::string, Postings>*> sorted;
  for (const auto& term : terms_) sorted.push_back(&term);
  std::sort(sorted.begin(), sorted.end(), [](const auto* a, const auto* b) { return a->first < b->first; });
  ByteWriter terms;
  for (const auto* term : sorted) {
    terms.put_varint(static_cast<std::uint32_t>(term->first.size()));
    terms.put_text(term->first);
    terms.put_varint(static_cast<std::uint32_t>(term->second.size()));
    std::uint32_t previous = 0;
    for (const Posting& posting : term->second) {
      terms.put_varint(posting.slot - previous);
      terms.put_varint(posting.frequency);
      previous = posting.slot;
    }
  }
  return {{kIds, ids.take()}, {kDeleted, deleted.take()}, {kLengths, lengths.take()}, {kTerms, terms.take()}};
}

KeywordIndex KeywordIndex::load(const IndexFile& file) {
  ByteReader ids(file.section(kIds), file.name());
  ByteReader deleted(file.section(kDeleted), file.name());
  ByteReader lengths(file.section(kLengths), file.name());
  KeywordIndex index;
  const std::size_t count = ids.remaining() / sizeof(std::int64_t);
  index.ids_ = ids.get_all<std::int64_t>(count);
  index.deleted_ = deleted.get_all<std::uint8_t>(count);
  index.lengths_ = lengths.get_all<std::uint32_t>(count);
  ids.expect_end();
  deleted.expect_end();
  lengths.expect_end();
  for (std::size_t slot = 0; slot < count; ++slot) {
    if (index.ids_[slot] <= (slot == 0 ? 0 : index.ids_[slot - 1])) ids.fail("has ids out of order");
    if (index.deleted_[slot] > 1) deleted.fail("has a deletion mark that is neither 0 nor 1");
    if (index.deleted_[slot] == 1) continue;
    ++index.live_count_;
    index.live_length_ += index.lengths_[slot];
  }
  load_postings(index, file);
  return index;
}

void KeywordIndex::load_postings(KeywordIndex& index, const IndexFile& file) {
  ByteReader reader(file.section(kTerms), file.name());
  std::vector<std::uint64_t> lengths(index.ids_.size());  // of chunks, as their postings add up
  std::string previous_term;
  while (reader.remaining() > 0) {
    std::string term(reader.take(reader.get_varint()));
    if (term <= previous_term) reader.fail("has terms out of order");
    const std::uint32_t count = reader.get_varint();
    if (count == 0 || count > reader.remaining() / 2)
      reader.fail("has a term with an impossible number of chunks");
    Postings postings(count);
    std::uint64_t slot = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint32_t step = reader.get_varint();
      slot += step;
      if (slot >= lengths.size() || (i > 0 && step == 0))
        reader.fail("has a term in a chunk that does not exist");
      postings[i] = {static_cast<std::uint32_t>(slot), reader.get_varint()};
      if (postings[i].frequency == 0) reader.fail("has a term that occurs no times");
      lengths[slot] += postings[i].frequency;
    }
    previous_term = term;
    index.terms_.emplace(std::move(term), std::move(postings));
  }
  if (!std::equal(lengths.begin(), lengths.end(), index.lengths_.begin(), index.lengths_.end())) {
    reader.fail("has chunks whose lengths differ from their terms");
  }
}

}  // namespace taesr
