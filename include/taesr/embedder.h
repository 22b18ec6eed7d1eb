#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "taesr/export.h"
#include "taesr/matrix.h"
#include "taesr/sparse_vector.h"

namespace taesr {

/// What a text is for. Queries and passages share one space but are embedded differently.
enum class Role { kPassage = 0, kQuery = 1 };

/// Heads that an embedder may have beside the dense one.
struct ExtraHeads {
  bool sparse = false;  // weights of vocabulary pieces (SPLADE)
  bool late = false;    // one unit vector a token (ColBERT)

  [[nodiscard]] bool any() const { return sparse || late; }
  bool operator==(const ExtraHeads&) const = default;
};

/// Vectors of some texts, and what it took to make them.
struct Embeddings {
  Matrix vectors;                         // unit rows [texts, dimension]
  std::vector<int> depths;                // recursions used by text; empty for embedders without recursion
  std::vector<SparseVector> sparse = {};  // by text; empty unless asked for, like the next
  std::vector<Matrix> late = {};          // by text: unit rows [tokens, size], special tokens left out
};

/// What a Collection needs of a model: unit vectors for texts, and a name for the space they live in.
///
/// `Encoder` is the implementation that the library ships; a program may bring its own.
/// Implementations must be safe to call from several threads at once.
class TAESR_API Embedder {
 public:
  virtual ~Embedder();

  /// Embeds texts; a text of more than max_tokens() is read in overlapping windows, never cut.
  /// `depth` is "easy", "medium", "hard", "auto" or a number of recursions in decimal; embedders
  /// without recursion ignore it.
  [[nodiscard]] virtual Embeddings embed(std::span<const std::string> texts, Role role,
                                         const std::string& depth) const = 0;

  /// Which further heads `embed_all` may be asked for. The default: none.
  [[nodiscard]] virtual ExtraHeads extra_heads() const;

  /// The same as `embed` and, from the same pass, what further heads make of each text. The default serves
  /// embedders without such heads and throws InvalidArgument when one is asked for.
  [[nodiscard]] virtual Embeddings embed_all(std::span<const std::string> texts, Role role,
                                             const std::string& depth, const ExtraHeads& heads) const;

  /// Number of values in a vector.
  [[nodiscard]] virtual std::size_t dimension() const = 0;

  /// Identifies the vector space: equal for equal weights, different otherwise (hex digest).
  [[nodiscard]] virtual std::string fingerprint() const = 0;

  /// Length of `text` in the embedder's own tokens, special tokens not counted.
  [[nodiscard]] virtual std::size_t count_tokens(const std::string& text) const = 0;

  /// Most tokens that are read in one piece, special tokens not counted.
  [[nodiscard]] virtual std::size_t max_tokens() const = 0;
};

}  // namespace taesr
