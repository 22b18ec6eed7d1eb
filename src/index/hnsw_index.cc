#include "index/hnsw_index.h"

#include <algorithm>
#include <cmath>

#include "index/byte_io.h"
#include "index/top_k.h"

namespace taesr {
namespace {

constexpr std::uint32_t kIds = section_tag("IDS ");
constexpr std::uint32_t kDeleted = section_tag("DEAD");
constexpr std::uint32_t kVectors = section_tag("VECS");
constexpr std::uint32_t kGraph = section_tag("GRPH");

/// A tenth of all rows is cheaper to compare one by one than to pick out of a walk through the graph.
constexpr std::size_t kSelective = 10;

bool is_unit(std::span<const float> vector) {
  double squares = 0;
  for (const float value : vector) squares += double{value} * value;
  return std::abs(squares - 1) < 0.01;  // false for NaN
}

}  // namespace

void HnswIndex::link() {
  if (graph_.size() > 0 || table_.size() > kExactBelow) graph_.extend(table_);
}

void HnswIndex::remove(const IdList& ids) {
  for (const std::uint32_t slot : positions_of(ids, table_.ids())) table_.mark_deleted(slot);
}

std::vector<Candidate> HnswIndex::search(std::span<const float> query, std::size_t k,
                                         const IdList* allowed) const {
  if (k == 0 || table_.live() == 0) return {};
  std::vector<std::uint32_t> slots;
  if (allowed != nullptr) slots = positions_of(*allowed, table_.ids());
  const std::vector<std::uint32_t>* chosen = allowed != nullptr ? &slots : nullptr;
  const std::size_t choice = chosen != nullptr ? slots.size() : table_.live();
  const bool whole = query.size() == table_.dimension();
  const bool broad = choice > kExactBelow && choice > table_.size() / kSelective && k < choice / kSelective;
  if (whole && broad && graph_.size() == table_.size()) {
    if (auto found = search_graph(query, k, chosen)) return *std::move(found);
  }
  return table_.nearest(query, k, chosen);
}

/// Nothing when the graph leads to fewer rows than there are, which happens when deletions cut it up.
std::optional<std::vector<Candidate>> HnswIndex::search_graph(std::span<const float> query, std::size_t k,
                                                              const std::vector<std::uint32_t>* slots) const {
  std::vector<bool> allowed;
  if (slots != nullptr) {
    allowed.resize(table_.size());
    for (const std::uint32_t slot : *slots) allowed[slot] = !table_.is_deleted(slot);
  } else if (table_.live() < table_.size()) {
    allowed.assign(table_.size(), true);
    for (std::uint32_t slot = 0; slot < table_.size(); ++slot) allowed[slot] = !table_.is_deleted(slot);
  }
  // Asking for twice as many widens the walk, which keeps recall up for large k.
  const auto found = graph_.search(query.data(), 2 * k, allowed.empty() ? nullptr : &allowed);
  if (found.size() < k) return std::nullopt;
  TopK best(k);
  for (const auto& [slot, score] : found) best.offer({table_.ids()[slot], score});
  return best.take();
}

IdList HnswIndex::live_ids() const {
  IdList ids;
  for (std::uint32_t slot = 0; slot < table_.size(); ++slot) {
    if (!table_.is_deleted(slot)) ids.push_back(table_.ids()[slot]);
  }
  return ids;
}

bool HnswIndex::needs_compaction() const { return (table_.size() - table_.live()) * 10 > table_.size() * 3; }

HnswIndex HnswIndex::compacted() const {
  HnswIndex fresh(table_.dimension());
  for (std::uint32_t slot = 0; slot < table_.size(); ++slot) {
    if (!table_.is_deleted(slot)) fresh.append(table_.ids()[slot], {table_.row(slot), table_.dimension()});
  }
  fresh.link();
  return fresh;
}

std::vector<IndexSection> HnswIndex::save() const {
  ByteWriter ids;
  ByteWriter deleted;
  ByteWriter vectors;
  ids.put_all(table_.ids().data(), table_.size());
  deleted.put_all(table_.deleted().data(), table_.size());
  for (std::size_t slot = 0; slot < table_.size(); ++slot)
    vectors.put_all(table_.row(slot), table_.dimension());
  std::vector<IndexSection> sections = {
      {kIds, ids.take()}, {kDeleted, deleted.take()}, {kVectors, vectors.take()}};
  if (graph_.size() > 0) sections.push_back({kGraph, graph_.encode()});
  return sections;
}

HnswIndex HnswIndex::load(const IndexFile& file, std::size_t dimension) {
  ByteReader ids(file.section(kIds), file.name());
  ByteReader deleted(file.section(kDeleted), file.name());
  ByteReader vectors(file.section(kVectors), file.name());
  const std::size_t count = ids.remaining() / sizeof(std::int64_t);
  HnswIndex index(dimension);
  for (std::size_t slot = 0; slot < count; ++slot) {
    const auto id = ids.get<std::int64_t>();
    if (id <= index.last_id()) ids.fail("has ids out of order");
    const auto vector = vectors.get_all<float>(dimension);
    if (!is_unit(vector)) vectors.fail("has a vector that is not of unit length");
    index.append(id, vector);
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
    index.graph_ = HnswGraph::decode(graph, index.table_);
  }
  return index;
}

}  // namespace taesr
