#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/byte_io.h"
#include "index/container.h"
#include "index/id_list.h"
#include "taesr/collection.h"
#include "taesr/export.h"
#include "taesr/sparse_vector.h"

namespace taesr {

/// Inverted index over sparse vectors with quantised weights and block-max pruning (Mallia et al. 2024,
/// arXiv 2405.01117): texts are in blocks of 64, every term knows its largest weight in each block, and blocks
/// are scored only while the sum of these could still be among the best.
///
/// Of a term, weights are whole multiples, 1 to 255 or 65535, of its largest one divided by that number.
/// Scores are float32 sums in the order of the query's terms. Such sums never fall when a summand grows, so
/// the pruning is exact: a search returns what scoring all texts would, to the last bit, equal scores by id.
///
/// Made by ImpactBuilder. Thread safety: const methods may be called concurrently.
class TAESR_API ImpactIndex {
 public:
  static constexpr std::size_t kBlock = 64;

  /// Texts to choose from: a bit for each slot, the lowest of a word first.
  using Bitmap = std::vector<std::uint64_t>;

  ImpactIndex() = default;

  /// The best texts that share a term with `query`, at most k, of those in `allowed` where it is given.
  /// Throws InvalidArgument for weights that are not above zero and finite.
  [[nodiscard]] std::vector<Candidate> search(const SparseVector& query, std::size_t k,
                                              const Bitmap* allowed = nullptr) const;

  /// The same without pruning, for tests and for comparison.
  [[nodiscard]] std::vector<Candidate> search_all(const SparseVector& query, std::size_t k,
                                                  const Bitmap* allowed = nullptr) const;

  /// Ids that the index does not have are left out.
  [[nodiscard]] Bitmap bitmap_of(const IdList& ids) const;
  /// Unknown ids are ignored. Their weights stay until the index is made anew.
  void remove(const IdList& ids);

  [[nodiscard]] std::size_t size() const { return live_count_; }
  /// Texts, deleted ones too.
  [[nodiscard]] std::size_t slots() const { return ids_.size(); }
  [[nodiscard]] IdList live_ids() const;
  /// The largest id in the index; 0 when there is none.
  [[nodiscard]] std::int64_t last_id() const { return ids_.empty() ? 0 : ids_.back(); }
  /// Memory that postings and blocks take.
  [[nodiscard]] std::size_t bytes() const;

  [[nodiscard]] std::vector<IndexSection> save() const;
  /// Throws FormatError for sections that cannot be such an index.
  [[nodiscard]] static ImpactIndex load(const IndexFile& file);

 private:
  friend class ImpactBuilder;
  friend class ImpactSearch;

  /// A term's postings in one block: from `begin` to the next entry's.
  struct Entry {
    std::uint32_t block = 0;
    std::uint32_t largest = 0;
    std::uint64_t begin = 0;
  };
  struct Term {
    float step = 0;  // a weight is so many steps
    std::size_t first = 0;
    std::size_t last = 0;  // behind its last entry
  };

  [[nodiscard]] std::size_t blocks() const { return (ids_.size() + kBlock - 1) / kBlock; }
  [[nodiscard]] std::uint32_t level(std::uint64_t posting) const;
  void put_level(std::uint32_t level);
  void load_terms(ByteReader& reader);
  void load_entry(ByteReader& reader, std::uint32_t block);

  std::uint32_t width_ = 1;  // bytes of a level
  IdList ids_;               // by slot, ascending
  Bitmap live_;
  std::size_t live_count_ = 0;
  std::map<int, Term> terms_;
  std::vector<Entry> entries_ = {Entry{}};  // the last is the end of the one before
  std::vector<std::uint8_t> places_;        // of postings in their blocks
  std::vector<std::uint8_t> levels_;        // width_ bytes a posting, little endian
};

/// Collects texts and makes their index.
class TAESR_API ImpactBuilder {
 public:
  /// `id` must be above the last one. Throws InvalidArgument for a vector that does not follow the rules of
  /// SparseVector: pieces from 0, ascending, weights finite and above zero.
  void append(std::int64_t id, const SparseVector& text);

  /// With levels of 8 or 16 bits; the builder is empty afterwards.
  [[nodiscard]] ImpactIndex build(std::uint32_t bits = 8);

 private:
  struct Posting {
    std::uint32_t slot = 0;
    float weight = 0;
  };
  static void add_term(ImpactIndex& index, int piece, const std::vector<Posting>& postings);

  IdList ids_;
  std::unordered_map<int, std::vector<Posting>> postings_;
};

}  // namespace taesr
