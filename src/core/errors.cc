#include "taesr/errors.h"

#include "taesr/embedder.h"

namespace taesr {

// Destructors are defined here, out of line, so that each class has one home for its type
// information: exceptions then match by type across the borders of shared libraries.
Error::Error(const std::string& message) : std::runtime_error(message) {}
Error::~Error() = default;
InvalidArgument::~InvalidArgument() = default;
IoError::~IoError() = default;
FormatError::~FormatError() = default;
VersionError::~VersionError() = default;
ChecksumError::~ChecksumError() = default;
ModelMismatch::~ModelMismatch() = default;
Overloaded::~Overloaded() = default;

Embedder::~Embedder() = default;

ExtraHeads Embedder::extra_heads() const { return {}; }

Embeddings Embedder::embed_all(std::span<const std::string> texts, Role role, const std::string& depth,
                               const ExtraHeads& heads) const {
  if (heads.any())
    throw InvalidArgument("the embedder has no sparse and no late head; leave those heads out");
  return embed(texts, role, depth);
}

}  // namespace taesr
