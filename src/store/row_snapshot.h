#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "store/document_store.h"

namespace taesr {

/// One consistent state of the rows, as the derived indexes read it, whatever is committed meanwhile.
class RowSnapshot {
 public:
  explicit RowSnapshot(const DocumentStore& store);

  [[nodiscard]] Revision revision() const { return revision_; }

  /// Whether the rows once were at `revision`: an index made then can be brought up to date.
  [[nodiscard]] bool descends_from(const Revision& revision) const;

  /// Ids of all chunks, ascending.
  [[nodiscard]] std::vector<std::int64_t> chunk_ids() const;

  /// Calls back for the dense embedding, in `space`, of each chunk with an id above `after`, ascending.
  /// Throws FormatError for a vector of another size or not of unit length.
  void for_each_vector(std::int64_t after, const VectorSpace& space,
                       const std::function<void(std::int64_t, std::span<const float>)>& visit) const;

  /// Calls back with (id, title, section path, text) of each chunk with an id above `after`, ascending.
  void for_each_passage(std::int64_t after,
                        const std::function<void(std::int64_t, const std::string&, const std::string&,
                                                 const std::string&)>& visit) const;

 private:
  ConnectionPool::Lease connection_;
  Transaction transaction_;
  Revision revision_;
};

}  // namespace taesr
