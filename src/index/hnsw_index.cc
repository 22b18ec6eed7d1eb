#include "index/hnsw_index.h"

#include <algorithm>
#include <cmath>

#include "core/byte_io.h"
#include "index/top_k.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

constexpr std::uint32_t kIds = section_tag("IDS ");
constexpr std::uint32_t kDeleted = section_tag("DEAD");
constexpr std::uint32_t kVectors = section_tag("VECS");
constexpr std::uint32_t kGraph = section_tag("GRPH");

constexpr std::size_t kCandidates = 2;     // times k: asking for more widens the walk, which large k need
constexpr std::size_t kMostOfChoice = 10;  // a search for more than one row in so many is exact
constexpr std::size_t kRowsANode = 3;      // one after the other, in the time of a node on a walk through the graph

bool is_unit(std::span<const float> vector) {
  double squares = 0;
  for (const float value : vector) squares += double{value} * value;
  return std::abs(squares - 1) < 0.01;  // false for NaN
}

}  // namespace

HnswIndex::HnswIndex(std::size_t dimension, const HnswIndexOptions& options)
    : options_(options), table_(dimension, options.format), graph_(options.graph) {
  if (options.compact_beyond >= 0 && options.compact_beyond <= 1) return;  // false for NaN
  throw InvalidArgument("option 'compact_beyond' is " + std::to_string(options.compact_beyond) +
                        "; a share from 0 to 1 is allowed");
}

void HnswIndex::link(const HnswGraph::Progress& progress) {
  if (graph_.size() > 0 || table_.size() > kExactBelow) graph_.extend(table_, progress);
}

void HnswIndex::remove(const IdList& ids) {
  for (const std::uint32_t slot : positions_of(ids, table_.ids())) table_.mark_deleted(slot);
}

HnswIndex::Filter HnswIndex::prepare(const IdList& allowed) const {
  Filter filter{positions_of(allowed, table_.ids()), std::vector<bool>(table_.size())};
  for (const std::uint32_t slot : filter.slots) filter.allowed[slot] = !table_.is_deleted(slot);
  return filter;
}

std::vector<Candidate> HnswIndex::search(std::span<const float> query, std::size_t k,
                                         const IdList* allowed) const {
  if (allowed == nullptr) return search_among(query, k, nullptr);
  const Filter filter = prepare(*allowed);
  return search_among(query, k, &filter);
}

std::vector<Candidate> HnswIndex::search(std::span<const float> query, std::size_t k,
                                         const Filter& filter) const {
  if (filter.allowed.size() != table_.size())
    throw InvalidArgument("the filter was prepared before the index changed; prepare it again");
  return search_among(query, k, &filter);
}

std::vector<Candidate> HnswIndex::search_among(std::span<const float> query, std::size_t k,
                                               const Filter* filter) const {
  if (k == 0 || table_.live() == 0) return {};
  const std::size_t choice = filter != nullptr ? filter->slots.size() : table_.live();
  const bool whole = query.size() == table_.dimension();
  const bool broad = choice > kExactBelow && k < choice / kMostOfChoice && is_worth_a_walk(choice, k);
  if (whole && broad && graph_.size() == table_.size()) {
    if (auto found = search_graph(query, k, filter)) return *std::move(found);
  }
  return table_.nearest(query, k, filter != nullptr ? &filter->slots : nullptr);
}

/// Whether the graph finds k among a part of the rows sooner than a look at each of that part.
bool HnswIndex::is_worth_a_walk(std::size_t choice, std::size_t k) const {
  if (2 * choice > table_.size()) return true;
  return kRowsANode * graph_.nodes_to_pass(kCandidates * k, share_of(choice)) < choice;
}

/// Nothing when the graph leads to fewer rows than there are, which happens when deletions cut it up.
std::optional<std::vector<Candidate>> HnswIndex::search_graph(std::span<const float> query, std::size_t k,
                                                              const Filter* filter) const {
  const std::vector<bool>* all = table_.live() < table_.size() ? &table_.live_slots() : nullptr;
  const std::vector<bool>* allowed = filter != nullptr ? &filter->allowed : all;
  std::vector<std::byte> row(table_.format().bytes());
  table_.format().write(query, row.data());
  const std::size_t choice = filter != nullptr ? filter->slots.size() : table_.live();
  const auto found = graph_.search(row.data(), kCandidates * k, allowed, share_of(choice));
  if (found.size() < k) return std::nullopt;
  TopK best(k);
  for (const auto& [slot, score] : found) best.offer({table_.ids()[slot], table_.score(query, slot)});
  return best.take();
}

IdList HnswIndex::live_ids() const {
  IdList ids;
  for (std::uint32_t slot = 0; slot < table_.size(); ++slot) {
    if (!table_.is_deleted(slot)) ids.push_back(table_.ids()[slot]);
  }
  return ids;
}

bool HnswIndex::needs_compaction() const {
  const auto deleted = static_cast<double>(table_.size() - table_.live());
  return deleted > options_.compact_beyond * static_cast<double>(table_.size());
}

HnswIndex HnswIndex::compacted() const {
  HnswIndex fresh(table_.dimension(), options_);
  for (std::uint32_t slot = 0; slot < table_.size(); ++slot) {
    if (!table_.is_deleted(slot)) fresh.append(table_.ids()[slot], table_.format().read(table_.row(slot)));
  }
  fresh.link();
  return fresh;
}

std::vector<IndexSection> HnswIndex::save() const {
  ByteWriter ids;
  ByteWriter deleted;
  ByteWriter vectors;
  ids.put_all(table_.ids().data(), table_.size());
  for (const bool live : table_.live_slots()) deleted.put(std::uint8_t{!live});
  for (std::size_t slot = 0; slot < table_.size(); ++slot)
    vectors.put_all(reinterpret_cast<const char*>(table_.row(slot)), table_.format().bytes());
  std::vector<IndexSection> sections = {
      {kIds, ids.take()}, {kDeleted, deleted.take()}, {kVectors, vectors.take()}};
  if (graph_.size() > 0) sections.push_back({kGraph, graph_.encode()});
  return sections;
}

HnswIndex HnswIndex::load(const IndexFile& file, std::size_t dimension, const HnswIndexOptions& options) {
  ByteReader ids(file.section(kIds), file.name());
  ByteReader deleted(file.section(kDeleted), file.name());
  ByteReader vectors(file.section(kVectors), file.name());
  const std::size_t count = ids.remaining() / sizeof(std::int64_t);
  HnswIndex index(dimension, options);
  const RowFormat& format = index.table_.format();
  for (std::size_t slot = 0; slot < count; ++slot) {
    const auto id = ids.get<std::int64_t>();
    if (id <= index.last_id()) ids.fail("has ids out of order");
    const auto* row = reinterpret_cast<const std::byte*>(vectors.take(format.bytes()).data());
    if (!format.is_finite(row)) vectors.fail("has a vector with a value that is not finite");
    if (options.metric == VectorMetric::kCosine && !is_unit(format.read(row)))
      vectors.fail("has a vector that is not of unit length");
    index.table_.append_row(id, row);
    const auto flag = deleted.get<std::uint8_t>();
    if (flag > 1) deleted.fail("has a deletion mark that is neither 0 nor 1");
    if (flag == 1) index.table_.mark_deleted(static_cast<std::uint32_t>(slot));
  }
  ids.expect_end();
  deleted.expect_end();
  vectors.expect_end();
  if (count > kExactBelow && !file.has(kGraph)) ids.fail("lacks its graph");
  if (file.has(kGraph)) {
    ByteReader graph(file.section(kGraph), file.name());
    index.graph_ = HnswGraph::decode(graph, index.table_, options.graph);
  }
  return index;
}

}  // namespace taesr
