#include "index/maxsim.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <string>

#include "index/distance.h"
#include "index/maxsim_kernels.h"
#include "index/top_k.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

constexpr std::uint32_t kCodec = section_tag("CODC");
constexpr std::uint32_t kIds = section_tag("IDS ");
constexpr std::uint32_t kDeleted = section_tag("DEAD");
constexpr std::uint32_t kBorders = section_tag("BORD");
constexpr std::uint32_t kCodes = section_tag("CODE");

/// Query tokens in groups of 16, each [dimension, 16]; absent ones are zeros.
std::vector<float> in_groups(const Matrix& query) {
  const std::size_t groups = (query.rows + kMaxSimGroup - 1) / kMaxSimGroup;
  std::vector<float> grouped(groups * query.columns * kMaxSimGroup);
  for (std::size_t i = 0; i < query.rows; ++i) {
    float* group = grouped.data() + i / kMaxSimGroup * query.columns * kMaxSimGroup;
    for (std::size_t d = 0; d < query.columns; ++d) group[kMaxSimGroup * d + i % kMaxSimGroup] = query.row(i)[d];
  }
  return grouped;
}

/// Sum over the query's tokens of the largest product with one of `count` tokens, which are 1 or more.
float max_sim(const std::vector<float>& grouped, const Matrix& query, const float* tokens, std::size_t count) {
  const MaxProducts kernel = best_max_products();
  float total = 0;
  for (std::size_t first = 0; first < query.rows; first += kMaxSimGroup) {
    float best[kMaxSimGroup];
    std::fill(std::begin(best), std::end(best), -std::numeric_limits<float>::infinity());
    kernel(grouped.data() + first * query.columns, query.columns, tokens, count, best);
    const std::size_t present = std::min(kMaxSimGroup, query.rows - first);
    for (std::size_t i = 0; i < present; ++i) total += best[i];
  }
  return total;
}

}  // namespace

void TokenIndex::append(std::int64_t id, const Matrix& tokens) { append_codes(id, codec_.encode(tokens)); }

void TokenIndex::append_codes(std::int64_t id, std::span<const std::uint8_t> codes) {
  const std::size_t size = codec_.code_size();
  if (codes.size() % size != 0) {
    throw FormatError("text " + std::to_string(id) + " has " + std::to_string(codes.size()) +
                      " bytes of token codes, which is no multiple of " + std::to_string(size));
  }
  for (std::size_t at = 0; at < codes.size(); at += size) {
    if (!codec_.is_valid(codes.data() + at))
      throw FormatError("text " + std::to_string(id) + " has a damaged token code, or one of another codec");
  }
  slots_of_.resize(codec_.centroid_count());
  const auto slot = static_cast<std::uint32_t>(ids_.size());
  for (std::size_t at = 0; at < codes.size(); at += size) {
    auto& slots = slots_of_[TokenCodec::centroid_of(codes.data() + at)];
    if (slots.empty() || slots.back() != slot) slots.push_back(slot);
  }
  codes_.insert(codes_.end(), codes.begin(), codes.end());
  borders_.push_back(codes_.size() / size);
  ids_.push_back(id);
  deleted_.push_back(0);
  ++live_count_;
}

void TokenIndex::remove(const IdList& ids) {
  for (const std::uint32_t slot : positions_of(ids, ids_)) {
    live_count_ -= deleted_[slot] == 0 ? 1 : 0;
    deleted_[slot] = 1;
  }
  if ((ids_.size() - live_count_) * 10 > ids_.size() * 3) drop_deleted();
}

void TokenIndex::drop_deleted() {
  TokenIndex fresh(codec_);
  const std::size_t size = codec_.code_size();
  for (std::size_t slot = 0; slot < ids_.size(); ++slot) {
    if (deleted_[slot] != 0) continue;
    const std::size_t begin = borders_[slot] * size;
    fresh.append_codes(ids_[slot], {codes_.data() + begin, borders_[slot + 1] * size - begin});
  }
  *this = std::move(fresh);
}

void TokenIndex::check_query(const Matrix& query) const {
  if (query.columns != codec_.dimension()) {
    throw InvalidArgument("query tokens have " + std::to_string(query.columns) + " values; this index is for " +
                          std::to_string(codec_.dimension()));
  }
  const auto is_finite = [](float value) { return std::isfinite(value); };
  if (!std::all_of(query.values.begin(), query.values.end(), is_finite))
    throw InvalidArgument("a query token has a value that is not finite");
}

std::vector<Candidate> TokenIndex::score(const Matrix& query, const IdList& ids) const {
  check_query(query);
  const std::vector<float> grouped = in_groups(query);
  std::vector<float> tokens;
  std::vector<Candidate> scored;
  for (const std::uint32_t slot : positions_of(ids, ids_)) {
    if (deleted_[slot] != 0) continue;
    const std::size_t count = borders_[slot + 1] - borders_[slot];
    tokens.resize(count * codec_.dimension());
    codec_.decode(codes_.data() + borders_[slot] * codec_.code_size(), count, tokens.data());
    const float none = -static_cast<float>(query.rows);
    scored.push_back({ids_[slot], count > 0 ? max_sim(grouped, query, tokens.data(), count) : none});
  }
  std::sort(scored.begin(), scored.end(), ranks_before);
  return scored;
}

IdList TokenIndex::candidates(const Matrix& query, std::size_t count, std::size_t probes,
                              const IdList* allowed) const {
  check_query(query);
  std::vector<std::uint8_t> usable(ids_.size(), allowed == nullptr ? 1 : 0);
  if (allowed != nullptr) {
    for (const std::uint32_t slot : positions_of(*allowed, ids_)) usable[slot] = 1;
  }
  const InnerProduct inner_product = best_inner_product();
  const Matrix& centroids = codec_.centroids();
  probes = std::clamp<std::size_t>(probes, 1, centroids.rows);
  std::vector<float> products(centroids.rows);
  std::vector<std::uint32_t> order(centroids.rows);
  std::vector<float> sums(ids_.size());        // by slot, above what a miss of all tokens gets
  std::vector<std::uint32_t> seen(ids_.size());  // the last query token, from 1, that reached the slot
  for (std::size_t i = 0; i < query.rows; ++i) {
    for (std::size_t c = 0; c < centroids.rows; ++c)
      products[c] = inner_product(query.row(i).data(), centroids.row(c).data(), query.columns);
    std::iota(order.begin(), order.end(), 0);
    const auto nearer = [&](std::uint32_t a, std::uint32_t b) { return products[a] > products[b]; };
    std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(probes), order.end(), nearer);
    // What no probe reaches is no nearer than the farthest of them (Lee et al. 2023, arXiv 2304.01982).
    const float missed = products[order[probes - 1]];
    for (std::size_t p = 0; p < probes && !slots_of_.empty(); ++p) {  // nearest first: the first hit is the best
      for (const std::uint32_t slot : slots_of_[order[p]]) {
        if (seen[slot] == i + 1) continue;
        seen[slot] = static_cast<std::uint32_t>(i + 1);
        sums[slot] += products[order[p]] - missed;
      }
    }
  }
  TopK best(std::min(count, live_count_));
  for (std::size_t slot = 0; slot < ids_.size(); ++slot) {
    if (seen[slot] != 0 && usable[slot] != 0 && deleted_[slot] == 0) best.offer({ids_[slot], sums[slot]});
  }
  IdList found;
  for (const Candidate& candidate : best.take()) found.push_back(candidate.chunk);
  std::sort(found.begin(), found.end());
  return found;
}

IdList TokenIndex::live_ids() const {
  IdList ids;
  for (std::size_t slot = 0; slot < ids_.size(); ++slot) {
    if (deleted_[slot] == 0) ids.push_back(ids_[slot]);
  }
  return ids;
}

std::vector<IndexSection> TokenIndex::save() const {
  ByteWriter codec;
  ByteWriter ids;
  ByteWriter deleted;
  ByteWriter borders;
  ByteWriter codes;
  codec_.write(codec);
  ids.put_all(ids_.data(), ids_.size());
  deleted.put_all(deleted_.data(), deleted_.size());
  borders.put_all(borders_.data() + 1, ids_.size());
  codes.put_all(codes_.data(), codes_.size());
  return {{kCodec, codec.take()},
          {kIds, ids.take()},
          {kDeleted, deleted.take()},
          {kBorders, borders.take()},
          {kCodes, codes.take()}};
}

TokenIndex TokenIndex::load(const IndexFile& file) {
  ByteReader codec(file.section(kCodec), file.name());
  ByteReader ids(file.section(kIds), file.name());
  ByteReader deleted(file.section(kDeleted), file.name());
  ByteReader borders(file.section(kBorders), file.name());
  ByteReader codes(file.section(kCodes), file.name());
  TokenIndex index(TokenCodec::read(codec));
  codec.expect_end();
  const std::size_t count = ids.remaining() / sizeof(std::int64_t);
  IdList removed;
  std::uint64_t begin = 0;
  for (std::size_t slot = 0; slot < count; ++slot) {
    const auto id = ids.get<std::int64_t>();
    if (id <= index.last_id()) ids.fail("has ids out of order");
    const auto end = borders.get<std::uint64_t>();
    const std::size_t size = index.codec_.code_size();
    if (end < begin || end - begin > codes.remaining() / size) borders.fail("has texts with impossible tokens");
    const std::string_view bytes = codes.take((end - begin) * size);
    index.append_codes(id, {reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()});
    const auto flag = deleted.get<std::uint8_t>();
    if (flag > 1) deleted.fail("has a deletion mark that is neither 0 nor 1");
    if (flag == 1) removed.push_back(id);
    begin = end;
  }
  ids.expect_end();
  deleted.expect_end();
  borders.expect_end();
  codes.expect_end();
  index.remove(removed);
  return index;
}

}  // namespace taesr
