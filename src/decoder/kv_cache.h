#pragma once

#include <cstddef>
#include <cstdint>

namespace taesr {

/// Keys and values of the tokens that a sequence has passed (Bae et al. 2025, arXiv 2507.10524, section 2.3),
/// wherever a decoder keeps them: HostKvCache, DeviceKvCache.
class KvCache {
 public:
  KvCache() = default;
  KvCache(KvCache&&) = default;
  KvCache& operator=(KvCache&&) = default;
  virtual ~KvCache() = default;

  /// Position of the next token.
  [[nodiscard]] std::int64_t length() const { return length_; }
  void advance(std::int64_t tokens) { length_ += tokens; }

  /// Memory of all entries' keys and values, without the rest of last pages.
  [[nodiscard]] virtual std::size_t bytes() const = 0;
  /// What a token that passes all layers reads of them.
  [[nodiscard]] virtual std::size_t bytes_read() const = 0;

 private:
  std::int64_t length_ = 0;
};

}  // namespace taesr
