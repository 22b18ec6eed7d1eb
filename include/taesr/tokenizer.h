#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "taesr/export.h"

namespace taesr {

/// SentencePiece tokenizer (Kudo and Richardson 2018). Const methods are safe concurrently.
class TAESR_API Tokenizer {
 public:
  /// Reads a SentencePiece model file. Throws IoError or FormatError.
  [[nodiscard]] static Tokenizer load(const std::filesystem::path& path);
  ~Tokenizer();
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;

  /// Piece ids of `text` after the model's own normalisation, without special tokens. Any bytes are
  /// accepted: invalid UTF-8 is read as U+FFFD.
  [[nodiscard]] std::vector<int> encode(std::string_view text) const;

  /// Text of piece ids. Throws InvalidArgument for an id out of range.
  [[nodiscard]] std::string decode(std::span<const int> ids) const;

  /// Number of pieces.
  [[nodiscard]] std::size_t size() const;

  /// The piece with this id, as the model spells it ("▁word"). Throws InvalidArgument.
  [[nodiscard]] std::string piece(int id) const;

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace taesr
