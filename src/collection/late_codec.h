#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "index/token_codec.h"
#include "store/document_store.h"
#include "taesr/matrix.h"

namespace taesr {

/// The late head's codec as a collection keeps it.
struct LateCodec {
  TokenCodec codec;
  std::uint32_t version = 1;    // counts the fits
  std::uint64_t fitted_on = 0;  // token vectors

  /// Such as "residual2/1": embeddings are read with the codec of their name only.
  [[nodiscard]] std::string name() const;
  [[nodiscard]] StoredHead to_row(bool ready) const;
};

/// Fits a codec to token vectors [tokens, size], of which there must be one. Few are filled up with random
/// directions, so that the codec can express what comes later.
[[nodiscard]] LateCodec fit_late_codec(const Matrix& tokens, std::uint32_t version);

/// Nothing where the codec is not fitted yet. Throws FormatError for a damaged one.
[[nodiscard]] std::optional<LateCodec> read_late_codec(const StoredHead& head);

/// Fits the late head's codec anew, and stores all its embeddings in it, where it was fitted to few tokens
/// and the collection has several times as many by now.
void refit_late_codec(DocumentStore& store);

}  // namespace taesr
