#include "index/sparse_index.h"

#include <algorithm>
#include <string>

#include "core/byte_io.h"
#include "index/sparse_codec.h"
#include "index/top_k.h"

namespace taesr {
namespace {

constexpr std::uint32_t kRecent = section_tag("NEWS");
constexpr std::size_t kQuicklyScored = 1024;  // texts
constexpr std::uint32_t kLevelBits = 16;

}  // namespace

void SparseIndex::append(std::int64_t id, SparseVector text) {
  check_sparse(text, "text " + std::to_string(id));
  recent_.emplace_back(id, std::move(text));
  last_id_ = id;
}

void SparseIndex::remove(const IdList& ids) {
  base_.remove(ids);
  std::erase_if(recent_, [&](const auto& text) { return std::ranges::binary_search(ids, text.first); });
}

bool SparseIndex::needs_rebuild() const {
  if (recent_.size() > kQuicklyScored && recent_.size() * 10 > size()) return true;
  return (base_.slots() - base_.size()) * 10 > base_.slots() * 3;
}

void SparseIndex::build() {
  ImpactBuilder builder;
  for (const auto& [id, text] : recent_) builder.append(id, text);
  base_ = builder.build(kLevelBits);
  recent_.clear();
}

std::vector<Candidate> SparseIndex::search(const SparseVector& query, std::size_t k,
                                           const IdList* allowed) const {
  check_sparse(query, "a query");
  TopK best(std::min(k, size()));
  if (base_.size() > 0) {
    const ImpactIndex::Bitmap bitmap = allowed != nullptr ? base_.bitmap_of(*allowed) : ImpactIndex::Bitmap();
    for (const Candidate& found : base_.search(query, k, allowed != nullptr ? &bitmap : nullptr)) {
      best.offer(found);
    }
  }
  for (const auto& [id, text] : recent_) {
    if (allowed != nullptr && !std::ranges::binary_search(*allowed, id)) continue;
    if (const float score = dot(query, text); score > 0) best.offer({id, score});
  }
  return best.take();
}

IdList SparseIndex::live_ids() const {
  IdList ids = base_.live_ids();
  for (const auto& [id, text] : recent_) ids.push_back(id);
  return ids;
}

std::vector<IndexSection> SparseIndex::save() const {
  std::vector<IndexSection> sections = base_.save();
  ByteWriter recent;
  for (const auto& [id, text] : recent_) {
    const std::vector<std::byte> bytes = encode_sparse(text);
    recent.put(id);
    recent.put_varint(static_cast<std::uint32_t>(bytes.size()));
    recent.put_text({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  }
  sections.push_back({kRecent, recent.take()});
  return sections;
}

SparseIndex SparseIndex::load(const IndexFile& file) {
  SparseIndex index;
  index.base_ = ImpactIndex::load(file);
  index.last_id_ = index.base_.last_id();
  ByteReader reader(file.section(kRecent), file.name());
  while (reader.remaining() > 0) {
    const auto id = reader.get<std::int64_t>();
    if (id <= index.last_id_) reader.fail("has ids out of order");
    const std::string_view bytes = reader.take(reader.get_varint());
    index.recent_.emplace_back(id, decode_sparse(std::as_bytes(std::span(bytes)), file.name()));
    index.last_id_ = id;
  }
  return index;
}

}  // namespace taesr
