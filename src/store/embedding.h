#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace taesr {

// Heads by name. A chunk has at most one embedding of each head and model.
inline constexpr std::string_view kDenseHead = "dense";    // one vector
inline constexpr std::string_view kSparseHead = "sparse";  // weights of vocabulary pieces
inline constexpr std::string_view kLateHead = "late";      // one vector a token, compressed

/// Encoding of the dense head: the vector's float32 values, little endian.
inline constexpr std::string_view kFloat32Codec = "float32/1";

/// Throws InvalidArgument for names with other characters than lower-case letters, digits and "-", in a
/// codec's also "_./": heads become names of files.
void check_names(std::string_view head, std::string_view codec);

/// An embedding in the encoding of its head, which the store keeps as it is.
struct EmbeddingView {
  std::string_view head;
  std::string_view codec;  // name and version of the encoding, "NAME/VERSION"
  int depth = 0;           // recursions that it took
  std::span<const std::byte> data;
};

/// The same with its own memory.
struct HeadEmbedding {
  std::string head;
  std::string codec;
  int depth = 0;
  std::vector<std::byte> data;

  [[nodiscard]] EmbeddingView view() const { return {head, codec, depth, data}; }
};

/// An embedding to add to a chunk that is stored already.
struct ChunkEmbedding {
  std::int64_t chunk = 0;
  HeadEmbedding embedding;
};

}  // namespace taesr
