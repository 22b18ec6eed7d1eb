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
#include <functional>
#include <memory>
#include <new>
#include <queue>
#include <thread>

#include "core/checksum.h"
#include "core/parallel.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

using hnswlib::tableint;

constexpr std::size_t kMaxLinks = 128;
constexpr std::size_t kProgressRows = 1024;
constexpr std::size_t kFirstCapacity = 1024;
constexpr std::size_t kRowsPerThread = 32;  // fewer are linked faster than a thread starts
constexpr double kMostWalked = 2;           // times the nodes of a search without a filter
constexpr std::uint32_t kMaxLevel = 32;     // a level of 16 has a chance of 16^-16

/// hnswlib stores the address of each row instead of a copy of it.
class RowSpace : public hnswlib::SpaceInterface<float> {
 public:
  explicit RowSpace(const RowFormat& format) : format_(format) {}
  std::size_t get_data_size() override { return sizeof(const std::byte*); }
  hnswlib::DISTFUNC<float> get_dist_func() override { return distance; }
  void* get_dist_func_param() override { return this; }

  [[nodiscard]] const RowFormat& format() const { return format_; }
  static const std::byte* row(const void* element) {
    const std::byte* address;  // elements are not aligned
    std::memcpy(&address, element, sizeof address);
    return address;
  }

 private:
  static float distance(const void* a, const void* b, const void* self) {
    return -static_cast<const RowSpace*>(self)->format_.product(row(a), row(b));
  }

  RowFormat format_;
};

// Note [What of hnswlib is used]
// Its arrays and its way of choosing a node's links, but neither addPoint, nor markDelete, nor loadIndex,
// nor its searches. addPoint draws levels from a generator that its threads share without a lock, and numbers
// nodes in the order in which threads arrive; here levels are drawn beforehand and a node's number is
// its row's slot. With markDelete, linking reads the last element of an empty list when all that it
// reaches is marked; here deleted rows are left out of results by a filter. loadIndex trusts its file. Searches wait
// for the row of each neighbour in turn; here the next ones are fetched ahead.
using Graph = hnswlib::HierarchicalNSW<float>;

/// A graph as it is stored: by slot, the links of each level from 0 to the slot's highest.
struct Links {
  std::uint32_t entry = 0;
  std::vector<std::vector<std::vector<std::uint32_t>>> nodes;
};

std::vector<std::uint32_t> read_neighbours(ByteReader& reader, std::size_t slot, std::size_t level,
                                           const std::vector<std::uint8_t>& levels, std::size_t most) {
  const auto count = reader.get<std::uint16_t>();
  if (count > (level == 0 ? 2 * most : most)) reader.fail("has a node with too many neighbours");
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
Links read_links(ByteReader& reader, std::size_t rows, std::size_t most) {
  if (reader.get<std::uint32_t>() != most) reader.fail("was made with another number of links");
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
      links.nodes[slot].push_back(read_neighbours(reader, slot, level, levels, most));
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
void place_node(Graph& graph, tableint slot, const std::byte* row, std::size_t level) {
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

/// Each level has one in `links` of the nodes of the level below. The same slot gets the same level always.
std::size_t draw_level(std::size_t slot, std::size_t links) {
  std::uint64_t bits = xxh64({reinterpret_cast<const char*>(&slot), sizeof slot});
  std::size_t level = 0;
  for (; bits % links == 0 && level < kMaxLevel; bits /= links) ++level;
  return level;
}

using Locks = std::vector<std::mutex>;  // of the lists, by node

/// Neighbours of a node.
class Neighbours {
 public:
  /// A copy of a list, which other threads may be changing where `locks` are given.
  Neighbours(const Graph& graph, tableint node, int level, Locks* locks) {
    std::unique_lock<std::mutex> lock;
    if (locks != nullptr) lock = std::unique_lock((*locks)[node]);
    hnswlib::linklistsizeint* list = graph.get_linklist_at_level(node, level);
    count_ = std::min<std::size_t>(graph.getListCount(list), std::size(nodes_));
    std::copy_n(list + 1, count_, nodes_);
  }

  /// Leaves those whose mark is not `mark`, which they get, and returns how many these are.
  std::size_t keep_unvisited(hnswlib::vl_type* marks, hnswlib::vl_type mark) {
    std::size_t kept = 0;
    for (std::size_t i = 0; i < count_; ++i) {
      if (marks[nodes_[i]] == mark) continue;
      marks[nodes_[i]] = mark;
      nodes_[kept++] = nodes_[i];
    }
    return count_ = kept;
  }

  /// Calls compare(node, row) for each, with the rows of the next ones already on their way to the cache.
  template <typename Compare>
  void for_each(const Graph& graph, const RowFormat& format, const Compare& compare) const {
    constexpr std::size_t kAhead = 3;
    const std::byte* rows[2 * kMaxLinks];
    for (std::size_t i = 0; i < count_; ++i) __builtin_prefetch(graph.getDataByInternalId(nodes_[i]));
    for (std::size_t i = 0; i < count_ + kAhead; ++i) {
      if (i < count_) {
        rows[i] = RowSpace::row(graph.getDataByInternalId(nodes_[i]));
        for (std::size_t at = 0; at < format.bytes(); at += 64) __builtin_prefetch(rows[i] + at);
      }
      if (i >= kAhead) compare(nodes_[i - kAhead], rows[i - kAhead]);
    }
  }

 private:
  tableint nodes_[2 * kMaxLinks];
  std::size_t count_;
};

/// The node on `level` that a walk towards ever nearer neighbours ends at.
tableint descend(const Graph& graph, const RowFormat& format, const std::byte* query, tableint node, int level,
                 Locks* locks) {
  float largest = format.product(query, RowSpace::row(graph.getDataByInternalId(node)));
  for (bool moved = true; moved;) {
    moved = false;
    const Neighbours neighbours(graph, node, level, locks);
    neighbours.for_each(graph, format, [&](tableint neighbour, const std::byte* row) {
      const float product = format.product(query, row);
      if (product <= largest) return;
      largest = product;
      node = neighbour;
      moved = true;
    });
  }
  return node;
}

/// Distances are negative products; the farthest is at the top.
using Nearest = std::priority_queue<std::pair<float, tableint>, std::vector<std::pair<float, tableint>>,
                                    Graph::CompareByFirst>;

struct WalkOptions {
  int level = 0;
  std::size_t width = 0;                      // nodes to find
  Locks* locks = nullptr;                      // where other threads may be linking
  const std::vector<bool>* allowed = nullptr;  // by node; others are passed through but not found
  std::size_t most = SIZE_MAX;                 // nodes to pass, with more than which nothing is found
};

/// Walks from `entry` along the links of a level to the nodes nearest to `query` (algorithm 2 of the paper).
Nearest walk(const Graph& graph, const RowFormat& format, const std::byte* query, tableint entry,
             const WalkOptions& options) {
  const auto release = [&](hnswlib::VisitedList* list) { graph.visited_list_pool_->releaseVisitedList(list); };
  const std::unique_ptr<hnswlib::VisitedList, decltype(release)> visited(
      graph.visited_list_pool_->getFreeVisitedList(), release);
  Nearest found;
  std::vector<std::pair<float, tableint>> open;  // a heap, nearest first
  const auto add = [&](float distance, tableint node) {
    open.emplace_back(distance, node);
    std::push_heap(open.begin(), open.end(), std::greater<>());
    if (options.allowed != nullptr && !(*options.allowed)[node]) return;
    found.emplace(distance, node);
    if (found.size() > options.width) found.pop();
  };
  visited->mass[entry] = visited->curV;
  add(-format.product(query, RowSpace::row(graph.getDataByInternalId(entry))), entry);
  for (std::size_t passed = 1; !open.empty();) {
    if (passed > options.most) return {};
    const auto [distance, node] = open.front();
    const bool full = found.size() == options.width;
    if (full && distance > found.top().first) break;
    std::pop_heap(open.begin(), open.end(), std::greater<>());
    open.pop_back();
    Neighbours neighbours(graph, node, options.level, options.locks);
    passed += neighbours.keep_unvisited(visited->mass, visited->curV);
    neighbours.for_each(graph, format, [&](tableint neighbour, const std::byte* row) {
      const float near = -format.product(query, row);
      if (found.size() < options.width || near < found.top().first) add(near, neighbour);
    });
  }
  return found;
}

/// Links a node that was placed, beside other threads that do the same. The node stays locked while it
/// is linked, level by level from its top: who finds it on one level waits until it is on all.
void link_node(Graph& graph, const RowFormat& format, tableint node) {
  const void* data = graph.getDataByInternalId(node);
  const std::byte* row = RowSpace::row(data);
  const int level = graph.element_levels_[node];
  std::unique_lock entry_lock(graph.global);  // kept only by a node that becomes the entry point
  const std::unique_lock node_lock(graph.link_list_locks_[node]);
  const int top = graph.maxlevel_;
  tableint nearest = graph.enterpoint_node_;
  if (level <= top) entry_lock.unlock();
  for (int l = top; l > level; --l) nearest = descend(graph, format, row, nearest, l, &graph.link_list_locks_);
  for (int l = std::min(level, top); l >= 0; --l) {
    auto candidates =
        walk(graph, format, row, nearest,
             {.level = l, .width = graph.ef_construction_, .locks = &graph.link_list_locks_});
    nearest = graph.mutuallyConnectNewElement(data, node, candidates, l, false);
  }
  if (level <= top) return;
  graph.enterpoint_node_ = node;
  graph.maxlevel_ = level;
}

}  // namespace

void check_options(const HnswOptions& options) {
  const auto check = [](const char* name, std::size_t value, std::size_t least, std::size_t most) {
    if (value >= least && value <= most) return;
    throw InvalidArgument(std::string("option '") + name + "' is " + std::to_string(value) + "; allowed: " +
                          std::to_string(least) + " to " + std::to_string(most));
  };
  check("links", options.links, 2, kMaxLinks);
  check("construction_width", options.construction_width, 1, 10000);
  check("search_width", options.search_width, 1, 10000);
}

struct HnswGraph::Impl {
  Impl(const VectorTable& table, std::size_t capacity, const HnswOptions& options)
      : space(table.format()),
        graph(&space, capacity, options.links, std::max(options.construction_width, options.links)) {}
  RowSpace space;
  Graph graph;
};

HnswGraph::HnswGraph(const HnswOptions& options) : options_(options) { check_options(options); }
HnswGraph::~HnswGraph() = default;
HnswGraph::HnswGraph(HnswGraph&&) noexcept = default;
HnswGraph& HnswGraph::operator=(HnswGraph&&) noexcept = default;

std::size_t HnswGraph::size() const { return impl_ ? impl_->graph.cur_element_count.load() : 0; }

void HnswGraph::set_search_width(std::size_t width) {
  HnswOptions changed = options_;
  changed.search_width = width;
  check_options(changed);
  options_ = changed;
}

void HnswGraph::extend(const VectorTable& table, const Progress& progress) {
  const std::size_t first = size();
  if (first == table.size()) return;
  const std::size_t capacity = std::max({kFirstCapacity, table.size(), first + first / 2});
  if (!impl_) impl_ = std::make_unique<Impl>(table, capacity, options_);
  Graph& graph = impl_->graph;
  if (table.size() > graph.max_elements_) graph.resizeIndex(capacity);
  for (std::size_t slot = first; slot < table.size(); ++slot) {
    place_node(graph, static_cast<tableint>(slot), table.row(slot), draw_level(slot, options_.links));
  }
  std::size_t next = first;
  if (next == 0) {  // the first node has nothing to be linked to
    graph.enterpoint_node_ = 0;
    graph.maxlevel_ = graph.element_levels_[0];
    ++next;
  }
  const std::size_t threads =
      std::min<std::size_t>(std::thread::hardware_concurrency(), 1 + (table.size() - next) / kRowsPerThread);
  std::mutex reporting;
  std::size_t done = 0;
  const auto report = [&] {
    if (!progress) return;
    const std::lock_guard lock(reporting);
    if (++done % kProgressRows == 0 || next + done == table.size()) progress(done, table.size() - next);
  };
  try {
    parallel_for(next, table.size(), threads, [&](std::size_t slot) {
      link_node(graph, impl_->space.format(), static_cast<tableint>(slot));
      report();
    });
  } catch (...) {
    impl_.reset();  // nodes without links would never be found; the next call starts afresh
    throw;
  }
}

/// A walk that may keep one node in n passes n times as many, and recall comes from what it passes: twice as
/// many as without a filter are enough.
std::size_t HnswGraph::width_of(std::size_t k, double share) const {
  const double narrowed = kMostWalked * share * static_cast<double>(options_.search_width);
  return std::max(k, std::min(options_.search_width, static_cast<std::size_t>(narrowed)));
}

std::size_t HnswGraph::nodes_to_pass(std::size_t k, double share) const {
  // Of the links of a node, which are twice as many, about half lead to nodes that were not seen yet.
  return static_cast<std::size_t>(static_cast<double>(width_of(k, share) * options_.links) / share);
}

std::vector<std::pair<std::uint32_t, float>> HnswGraph::search(const std::byte* query, std::size_t k,
                                                               const std::vector<bool>* allowed,
                                                               double share) const {
  const Graph& graph = impl_->graph;
  const RowFormat& format = impl_->space.format();
  tableint nearest = graph.enterpoint_node_;
  for (int level = graph.maxlevel_; level > 0; --level)
    nearest = descend(graph, format, query, nearest, level, nullptr);
  WalkOptions options{.width = width_of(k, share), .allowed = allowed};
  if (allowed != nullptr) {
    const auto half = static_cast<std::size_t>(share * static_cast<double>(size()) / 2);
    options.most = std::max(half, 2 * nodes_to_pass(k, share));
  }
  Nearest found = walk(graph, format, query, nearest, options);
  while (found.size() > k) found.pop();
  std::vector<std::pair<std::uint32_t, float>> result;
  result.reserve(found.size());
  for (; !found.empty(); found.pop()) result.emplace_back(found.top().second, -found.top().first);
  return result;
}

std::string HnswGraph::encode() const {
  const Graph& graph = impl_->graph;
  const auto count = static_cast<tableint>(size());
  ByteWriter writer;
  writer.put(static_cast<std::uint32_t>(options_.links));
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

HnswGraph HnswGraph::decode(ByteReader& reader, const VectorTable& table, const HnswOptions& options) {
  if (table.size() == 0) reader.fail("is a graph without nodes");
  const Links links = read_links(reader, table.size(), options.links);
  HnswGraph decoded(options);
  decoded.impl_ = std::make_unique<Impl>(table, table.size(), options);
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
