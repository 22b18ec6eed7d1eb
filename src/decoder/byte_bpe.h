#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "checkpoint/gguf.h"

namespace taesr {

/// Whether texts of special tokens, such as "<|im_end|>", are read as these tokens or as any other text.
enum class SpecialTokens { kParse, kAsText };

/// Byte-level byte-pair encoding (Sennrich et al. 2016; Radford et al. 2019) with the words of split_words.
/// Const methods are safe concurrently.
class ByteBpe {
 public:
  /// From a file's metadata. Throws FormatError for another kind of tokenizer, and for a damaged one with
  /// what and where.
  explicit ByteBpe(const GgufFile& file);

  /// Any bytes are accepted; those that the vocabulary lacks are left out, as in the reference.
  [[nodiscard]] std::vector<int> encode(std::string_view text, SpecialTokens special) const;

  /// The bytes of a token; they need not be whole characters. Empty for special tokens. Throws
  /// InvalidArgument.
  [[nodiscard]] const std::string& bytes_of(int id) const;
  /// Bytes of all tokens, without the special ones, as UTF-8: what is not gets U+FFFD.
  [[nodiscard]] std::string decode(std::span<const int> ids) const;

  [[nodiscard]] std::size_t size() const { return bytes_.size(); }
  [[nodiscard]] std::optional<int> special(std::string_view text) const;
  /// The token that ends a text, where there is one.
  [[nodiscard]] std::optional<int> end() const { return end_; }

 private:
  struct Merge {
    std::uint32_t rank;
    int token;
  };
  struct Symbol;

  void read_tokens(const GgufFile& file);
  void read_merges(const GgufFile& file);
  void encode_text(std::string_view text, std::vector<int>& ids) const;
  void encode_word(std::string_view word, std::vector<int>& ids) const;
  [[nodiscard]] const Merge* find_merge(int left, int right) const;

  std::vector<std::string> bytes_;                 // by token
  std::unordered_map<std::string, int> special_;   // by text
  std::size_t longest_special_ = 0;
  bool special_start_[256] = {};  // by byte: whether a special text starts with it
  std::optional<int> byte_token_[256];
  std::unordered_map<std::uint64_t, Merge> merges_;  // by both tokens
  std::optional<int> end_;
};

/// Length of the beginning of a character that `text` breaks off at `offset`: more bytes could complete it. 0
/// for what no bytes complete.
[[nodiscard]] std::size_t incomplete_character(std::string_view text, std::size_t offset);
/// `text` with U+FFFD for everything that is not UTF-8, as Unicode recommends (one for each broken-off
/// character).
[[nodiscard]] std::string replace_invalid_utf8(std::string_view text);

}  // namespace taesr
