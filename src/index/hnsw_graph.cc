#include "index/hnsw_graph.h"

// hnswlib's prefetching reads one neighbour past the end of a list. Its vector instructions are not
// needed either: the distance is ours.
#ifndef NO_MANUAL_VECTORIZATION
#define NO_MANUAL_VECTORIZATION
#endif
#include <hnswlib/hnswlib.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <new>
#include <optional>
#include <thread>

#include "core/checksum.h"
#include "index/parallel.h"

namespace taesr {
namespace {

using hnswlib::tableint;

constexpr std::size_t kLinks = 16;  // M of the paper; the lowest level has twice as many
constexpr std::size_t kConstructionWidth = 200;
constexpr std::size_t kSearchWidth = 128;
constexpr std::size_t kFirstCapacity = 1024;
constexpr std::size_t kRowsPerThread = 32;  // fewer are linked faster than a thread starts
constexpr std::uint32_t kMaxLevel = 32;     // a level of 16 has a chance of 16^-16

/// hnswlib stores the address of each row instead of a copy of it.
class RowSpace : public hnswlib::SpaceInterface<float> {
 public:
  explicit RowSpace(std::size_t dimension) : dimension_(dimension), inner_product_(best_inner_product()) {}
  std::size_t get_data_size() override { return sizeof(const float*); }
  hnswlib::DISTFUNC<float> get_dist_func() override { return distance; }
  void* get_dist_func_param() override { return this; }

 private:
  static float distance(const void* a, const void* b, const void* self) {
    const auto* space = static_cast<const RowSpace*>(self);
    return -space->inner_product_(row(a), row(b), space->dimension_);
  }
  static const float* row(const void* element) {
    const float* address;  // elements are not aligned
    std::memcpy(&address, element, sizeof address);
    return address;
  }

  std::size_t dimension_;
  InnerProduct inner_product_;
};

class SlotFilter : public hnswlib::BaseFilterFunctor {
 public:
  explicit SlotFilter(const std::vector<bool>& allowed) : allowed_(allowed) {}
  bool operator()(hnswlib::labeltype slot) override { return allowed_[slot]; }

 private:
  const std::vector<bool>& allowed_;
};

// Note [What of hnswlib is used]
// Its arrays, its searches and its way of linking a node, but neither addPoint, nor markDelete, nor
// loadIndex. addPoint draws levels from a generator that its threads share without a lock, and numbers
// nodes in the order in which threads arrive; here levels are drawn beforehand and a node's number is
// its row's slot. With markDelete, linking reads the last element of an empty list when all that it
// reaches is marked; here deleted rows are left out of results by a filter. loadIndex trusts its file.
using Graph = hnswlib::HierarchicalNSW<float>;

/// A graph as it is stored: by slot, the links of each level from 0 to the slot's highest.
struct Links {
  std::uint32_t entry = 0;
  std::vector<std::vector<std::vector<std::uint32_t>>> nodes;
};

std::vector<std::uint32_t> read_neighbours(ByteReader& reader, std::size_t slot, std::size_t level,
                                           const std::vector<std::uint8_t>& levels) {
  const auto count = reader.get<std::uint16_t>();
  if (count > (level == 0 ? 2 * kLinks : kLinks)) reader.fail("has a node with too many neighbours");
  std::vector<std::uint32_t> neighbours = reader.get_all<std::uint32_t>(count);
  for (const std::uint32_t neighbour : neighbours) {
    if (neighbour >= levels.size()) reader.fail("has a neighbour that does not exist");
    if (neighbour == slot) reader.fail("has a node that is its own neighbour");
    if (levels[neighbour] < level) reader.fail("has a neighbour that is missing from its level");
  }
  std::vector<std::uint32_t> sorted = neighbours;
  std::sort(sorted.begin(), sorted.end());
  if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) reader.fail("has a neighbour twice");
  return neighbours;
}

/// Reads and checks everything; what it returns is a graph, if perhaps not a good one.
Links read_links(ByteReader& reader, std::size_t rows) {
  if (reader.get<std::uint32_t>() != kLinks) reader.fail("was made with another number of links");
  if (reader.get<std::uint64_t>() != rows) reader.fail("has another number of nodes than of vectors");
  Links links;
  links.entry = reader.get<std::uint32_t>();
  const auto levels = reader.get_all<std::uint8_t>(rows);
  const std::uint8_t highest = *std::max_element(levels.begin(), levels.end());
  if (highest > kMaxLevel) reader.fail("has a node on an impossible level");
  if (links.entry >= rows || levels[links.entry] != highest)
    reader.fail("has its entry point not on the top level");
  links.nodes.resize(rows);
  for (std::size_t slot = 0; slot < rows; ++slot) {
    for (std::size_t level = 0; level <= levels[slot]; ++level) {
      links.nodes[slot].push_back(read_neighbours(reader, slot, level, levels));
    }
  }
  reader.expect_end();
  return links;
}

void set_neighbours(Graph& graph, hnswlib::linklistsizeint* list,
                    const std::vector<std::uint32_t>& neighbours) {
  graph.setListCount(list, static_cast<unsigned short>(neighbours.size()));
  std::copy(neighbours.begin(), neighbours.end(), list + 1);
}

/// Makes the next node, on `level`, without links.
void place_node(Graph& graph, tableint slot, const float* row, std::size_t level) {
  std::memset(graph.data_level0_memory_ + slot * graph.size_data_per_element_, 0,
              graph.size_data_per_element_);
  std::memcpy(graph.getDataByInternalId(slot), &row, sizeof row);
  graph.setExternalLabel(slot, slot);
  graph.linkLists_[slot] = nullptr;
  if (level > 0) {
    graph.linkLists_[slot] = static_cast<char*>(std::calloc(level, graph.size_links_per_element_));
    if (graph.linkLists_[slot] == nullptr) throw std::bad_alloc();
  }
  // hnswlib frees the list of every node counted here that has upper levels.
  graph.element_levels_[slot] = static_cast<int>(level);
  graph.cur_element_count = slot + 1;
}

/// Each level has one in kLinks of the nodes of the level below. The same slot gets the same level always.
std::size_t draw_level(std::size_t slot) {
  std::uint64_t bits = xxh64({reinterpret_cast<const char*>(&slot), sizeof slot});
  std::size_t level = 0;
  for (; bits % kLinks == 0 && level < kMaxLevel; bits /= kLinks) ++level;
  return level;
}

/// A copy of a list that other threads may be changing.
std::vector<tableint> neighbours_of(Graph& graph, tableint node, int level) {
  const std::lock_guard lock(graph.link_list_locks_[node]);
  hnswlib::linklistsizeint* list = graph.get_linklist_at_level(node, level);
  return {list + 1, list + 1 + graph.getListCount(list)};
}

/// The node on `level` that a walk towards ever nearer neighbours ends at.
tableint descend(Graph& graph, const void* data, tableint node, int level) {
  const auto distance_to = [&](tableint other) {
    return graph.fstdistfunc_(data, graph.getDataByInternalId(other), graph.dist_func_param_);
  };
  float shortest = distance_to(node);
  for (bool moved = true; moved;) {
    moved = false;
    for (const tableint neighbour : neighbours_of(graph, node, level)) {
      const float distance = distance_to(neighbour);
      if (distance >= shortest) continue;
      shortest = distance;
      node = neighbour;
      moved = true;
    }
  }
  return node;
}

/// Links a node that was placed, beside other threads that do the same. The node stays locked while it
/// is linked, level by level from its top: who finds it on one level waits until it is on all.
void link_node(Graph& graph, tableint node) {
  const void* data = graph.getDataByInternalId(node);
  const int level = graph.element_levels_[node];
  std::unique_lock entry_lock(graph.global);  // kept only by a node that becomes the entry point
  const std::unique_lock node_lock(graph.link_list_locks_[node]);
  const int top = graph.maxlevel_;
  tableint nearest = graph.enterpoint_node_;
  if (level <= top) entry_lock.unlock();
  for (int l = top; l > level; --l) nearest = descend(graph, data, nearest, l);
  for (int l = std::min(level, top); l >= 0; --l) {
    auto candidates = graph.searchBaseLayer(nearest, data, l);
    nearest = graph.mutuallyConnectNewElement(data, node, candidates, l, false);
  }
  if (level <= top) return;
  graph.enterpoint_node_ = node;
  graph.maxlevel_ = level;
}

}  // namespace

struct HnswGraph::Impl {
  Impl(const VectorTable& table, std::size_t capacity)
      : space(table.dimension()), graph(&space, capacity, kLinks, kConstructionWidth) {
    graph.setEf(kSearchWidth);
  }
  RowSpace space;
  Graph graph;
};

HnswGraph::HnswGraph() = default;
HnswGraph::~HnswGraph() = default;
HnswGraph::HnswGraph(HnswGraph&&) noexcept = default;
HnswGraph& HnswGraph::operator=(HnswGraph&&) noexcept = default;

std::size_t HnswGraph::size() const { return impl_ ? impl_->graph.cur_element_count.load() : 0; }

void HnswGraph::extend(const VectorTable& table) {
  const std::size_t first = size();
  if (first == table.size()) return;
  const std::size_t capacity = std::max({kFirstCapacity, table.size(), first + first / 2});
  if (!impl_) impl_ = std::make_unique<Impl>(table, capacity);
  Graph& graph = impl_->graph;
  if (table.size() > graph.max_elements_) graph.resizeIndex(capacity);
  for (std::size_t slot = first; slot < table.size(); ++slot) {
    place_node(graph, static_cast<tableint>(slot), table.row(slot), draw_level(slot));
  }
  std::size_t next = first;
  if (next == 0) {  // the first node has nothing to be linked to
    graph.enterpoint_node_ = 0;
    graph.maxlevel_ = graph.element_levels_[0];
    ++next;
  }
  const std::size_t threads =
      std::min<std::size_t>(std::thread::hardware_concurrency(), 1 + (table.size() - next) / kRowsPerThread);
  try {
    parallel_for(next, table.size(), threads,
                 [&](std::size_t slot) { link_node(graph, static_cast<tableint>(slot)); });
  } catch (...) {
    impl_.reset();  // nodes without links would never be found; the next call starts afresh
    throw;
  }
}

std::vector<std::pair<std::uint32_t, float>> HnswGraph::search(const float* query, std::size_t k,
                                                               const std::vector<bool>* allowed) const {
  std::optional<SlotFilter> filter;
  if (allowed != nullptr) filter.emplace(*allowed);
  auto found = impl_->graph.searchKnn(&query, k, filter ? &*filter : nullptr);
  std::vector<std::pair<std::uint32_t, float>> result;
  result.reserve(found.size());
  for (; !found.empty(); found.pop()) {
    result.emplace_back(static_cast<std::uint32_t>(found.top().second), -found.top().first);
  }
  return result;
}

std::string HnswGraph::encode() const {
  const Graph& graph = impl_->graph;
  const auto count = static_cast<tableint>(size());
  ByteWriter writer;
  writer.put(static_cast<std::uint32_t>(kLinks));
  writer.put(std::uint64_t{count});
  writer.put(std::uint32_t{graph.enterpoint_node_});
  for (tableint slot = 0; slot < count; ++slot)
    writer.put(static_cast<std::uint8_t>(graph.element_levels_[slot]));
  for (tableint slot = 0; slot < count; ++slot) {
    for (int level = 0; level <= graph.element_levels_[slot]; ++level) {
      hnswlib::linklistsizeint* list = graph.get_linklist_at_level(slot, level);
      const std::uint16_t neighbours = graph.getListCount(list);
      writer.put(neighbours);
      writer.put_all(list + 1, neighbours);
    }
  }
  return writer.take();
}

HnswGraph HnswGraph::decode(ByteReader& reader, const VectorTable& table) {
  if (table.size() == 0) reader.fail("is a graph without nodes");
  const Links links = read_links(reader, table.size());
  HnswGraph decoded;
  decoded.impl_ = std::make_unique<Impl>(table, table.size());
  Graph& graph = decoded.impl_->graph;
  for (tableint slot = 0; slot < table.size(); ++slot) {
    const auto& levels = links.nodes[slot];
    place_node(graph, slot, table.row(slot), levels.size() - 1);
    for (std::size_t level = 0; level < levels.size(); ++level) {
      set_neighbours(graph, graph.get_linklist_at_level(slot, static_cast<int>(level)), levels[level]);
    }
  }
  graph.enterpoint_node_ = links.entry;
  graph.maxlevel_ = static_cast<int>(links.nodes[links.entry].size()) - 1;
  return decoded;
}

}  // namespace taesr
