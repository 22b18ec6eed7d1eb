#include "decoder/byte_bpe.h"

#include <algorithm>
#include <array>
#include <queue>

#include "core/utf8.h"
#include "decoder/pretokenize.h"
#include "index/unicode.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

constexpr std::int64_t kControl = 3;      // types of tokens in a file
constexpr std::int64_t kUserDefined = 4;

std::uint64_t pair_key(int left, int right) {
  return static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32 |
         static_cast<std::uint32_t>(right);
}

/// Vocabularies spell each byte as a printable character: itself where it is one, else one from U+0100 on.
std::array<char32_t, 256> byte_characters() {
  std::array<char32_t, 256> characters{};
  char32_t next = 0x100;
  for (char32_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    characters[byte] = printable ? byte : next++;
  }
  return characters;
}

/// The bytes that a token's spelling stands for; nothing where it has a character that stands for none.
std::optional<std::string> unspell(std::string_view spelling) {
  static const auto bytes = [] {
    std::unordered_map<char32_t, char> made;
    const auto characters = byte_characters();
    for (std::size_t i = 0; i < 256; ++i) made[characters[i]] = static_cast<char>(i);
    return made;
  }();
  std::string text;
  for (std::size_t at = 0; at < spelling.size();) {
    const auto [code, length] = detail::decode_utf8(spelling, at);
    const auto found = bytes.find(code);
    if (found == bytes.end()) return std::nullopt;
    text += found->second;
    at += length;
  }
  return text;
}

}  // namespace

/// A part of a word, linked to its neighbours.
struct ByteBpe::Symbol {
  int token;
  int before;
  int after;
};

ByteBpe::ByteBpe(const GgufFile& file) {
  const std::string origin = "'" + file.origin() + "': ";
  if (file.text("tokenizer.ggml.model") != "gpt2" || file.text("tokenizer.ggml.pre") != "smollm") {
    throw FormatError(origin + "tokenizer '" + std::string(file.text("tokenizer.ggml.model").substr(0, 40)) +
                      "' with words '" + std::string(file.text("tokenizer.ggml.pre").substr(0, 40)) +
                      "' is not read; only 'gpt2' with 'smollm'");
  }
  read_tokens(file);
  read_merges(file);
  if (file.has("tokenizer.ggml.eos_token_id")) {
    end_ = static_cast<int>(
        file.integer("tokenizer.ggml.eos_token_id", 0, static_cast<std::int64_t>(size()) - 1));
  }
}

void ByteBpe::read_tokens(const GgufFile& file) {
  const auto& tokens = file.texts("tokenizer.ggml.tokens");
  const auto& types = file.integers("tokenizer.ggml.token_type");
  const auto fail = [&](std::size_t i, const std::string& reason) {
    throw FormatError("'" + file.origin() + "': metadata 'tokenizer.ggml.tokens': token " +
                      std::to_string(i) + " " + reason);
  };
  if (types.size() != tokens.size()) {
    fail(std::min(types.size(), tokens.size()), "has no type in 'tokenizer.ggml.token_type', or only that");
  }
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const int id = static_cast<int>(i);
    if (types[i] == kControl || types[i] == kUserDefined) {
      if (tokens[i].empty() || !special_.emplace(tokens[i], id).second) {
        fail(i, "is special and empty or there twice");
      }
      special_start_[static_cast<unsigned char>(tokens[i].front())] = true;
      longest_special_ = std::max(longest_special_, tokens[i].size());
      bytes_.emplace_back(types[i] == kUserDefined ? tokens[i] : std::string_view());
      continue;
    }
    const auto bytes = unspell(tokens[i]);
    if (!bytes || bytes->empty()) fail(i, "is not spelled in the characters of byte-level vocabularies");
    bytes_.push_back(*bytes);
    if (bytes->size() == 1) byte_token_[static_cast<unsigned char>(bytes->front())] = id;
  }
}

void ByteBpe::read_merges(const GgufFile& file) {
  std::unordered_map<std::string_view, int> ids;
  const auto& tokens = file.texts("tokenizer.ggml.tokens");
  for (std::size_t i = 0; i < tokens.size(); ++i) ids.emplace(tokens[i], static_cast<int>(i));
  const auto& merges = file.texts("tokenizer.ggml.merges");
  for (std::size_t i = 0; i < merges.size(); ++i) {
    const std::size_t space = merges[i].find(' ');
    const auto find = [&](std::string_view token) { return ids.find(token); };
    const auto left = find(merges[i].substr(0, space));
    const auto right = space == std::string_view::npos ? ids.end() : find(merges[i].substr(space + 1));
    const auto whole = left == ids.end() || right == ids.end()
                           ? ids.end()
                           : ids.find(std::string(left->first) + std::string(right->first));
    if (whole == ids.end()) {
      throw FormatError("'" + file.origin() + "': metadata 'tokenizer.ggml.merges': merge " +
                        std::to_string(i) + " is not of two tokens into a third");
    }
    merges_.emplace(pair_key(left->second, right->second),
                    Merge{static_cast<std::uint32_t>(i), whole->second});
  }
}

std::vector<int> ByteBpe::encode(std::string_view text, SpecialTokens special) const {
  std::vector<int> ids;
  std::size_t begin = 0;  // of what is not encoded yet
  for (std::size_t at = 0; special == SpecialTokens::kParse && at < text.size();) {
    const bool may_start = special_start_[static_cast<unsigned char>(text[at])];
    std::size_t length = may_start ? std::min(longest_special_, text.size() - at) : 0;
    while (length > 0 && !special_.contains(std::string(text.substr(at, length)))) --length;
    if (length == 0) {
      ++at;
      continue;
    }
    encode_text(text.substr(begin, at - begin), ids);
    ids.push_back(special_.at(std::string(text.substr(at, length))));
    begin = at += length;
  }
  encode_text(text.substr(begin), ids);
  return ids;
}

void ByteBpe::encode_text(std::string_view text, std::vector<int>& ids) const {
  for (const std::string_view word : split_words(text)) encode_word(word, ids);
}

const ByteBpe::Merge* ByteBpe::find_merge(int left, int right) const {
  const auto found = merges_.find(pair_key(left, right));
  return found == merges_.end() ? nullptr : &found->second;
}

/// Applies the merge of lowest rank, the leftmost of equal ones, until there is none. A heap keeps words of
/// millions of bytes fast.
void ByteBpe::encode_word(std::string_view word, std::vector<int>& ids) const {
  std::vector<Symbol> symbols;
  for (const char c : word) {
    const auto token = byte_token_[static_cast<unsigned char>(c)];
    const int index = static_cast<int>(symbols.size());
    if (token) symbols.push_back({*token, index - 1, index + 1});
  }
  if (symbols.empty()) return;
  symbols.back().after = -1;
  struct Candidate {
    std::uint32_t rank;
    int at, left, right, merged;
    bool operator>(const Candidate& other) const {
      return std::pair(rank, at) > std::pair(other.rank, other.at);
    }
  };
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> queue;
  const auto consider = [&](int at) {
    if (at < 0 || symbols[at].after < 0) return;
    const int left = symbols[at].token;
    const int right = symbols[symbols[at].after].token;
    if (const Merge* merge = find_merge(left, right)) {
      queue.push({merge->rank, at, left, right, merge->token});
    }
  };
  for (int i = 0; i + 1 < static_cast<int>(symbols.size()); ++i) consider(i);
  while (!queue.empty()) {
    const Candidate best = queue.top();
    queue.pop();
    Symbol& symbol = symbols[best.at];
    const bool current =
        symbol.token == best.left && symbol.after >= 0 && symbols[symbol.after].token == best.right;
    if (!current) continue;
    symbols[symbol.after].token = -1;
    symbol.token = best.merged;
    symbol.after = symbols[symbol.after].after;
    if (symbol.after >= 0) symbols[symbol.after].before = best.at;
    consider(best.at);
    consider(symbol.before);
  }
  for (int i = 0; i >= 0; i = symbols[i].after) ids.push_back(symbols[i].token);
}

const std::string& ByteBpe::bytes_of(int id) const {
  if (id < 0 || static_cast<std::size_t>(id) >= size()) {
    throw InvalidArgument("token " + std::to_string(id) + "; allowed: 0 to " + std::to_string(size() - 1));
  }
  return bytes_[static_cast<std::size_t>(id)];
}

std::string ByteBpe::decode(std::span<const int> ids) const {
  std::string bytes;
  for (const int id : ids) bytes += bytes_of(id);
  return replace_invalid_utf8(bytes);
}

std::optional<int> ByteBpe::special(std::string_view text) const {
  const auto found = special_.find(std::string(text));
  return found == special_.end() ? std::nullopt : std::optional(found->second);
}

std::size_t incomplete_character(std::string_view text, std::size_t offset) {
  for (std::size_t have = std::min<std::size_t>(3, text.size() - offset); have > 0; --have) {
    // Of all continuations the lowest and the highest second byte cover every lead byte's range.
    for (const char second : {'\x80', '\xBF'}) {
      for (std::size_t need = 1; have + need <= 4; ++need) {
        std::string whole(text.substr(offset, have));
        whole += have == 1 ? second : '\x80';
        whole.append(need - 1, '\x80');
        if (detail::find_invalid_utf8(whole) == std::string_view::npos &&
            detail::decode_utf8(whole, 0).length == whole.size()) {
          return have;
        }
      }
    }
  }
  return 0;
}

std::string replace_invalid_utf8(std::string_view text) {
  std::string valid;
  while (true) {
    const std::size_t bad = detail::find_invalid_utf8(text);
    valid += text.substr(0, bad);
    if (bad == std::string_view::npos) return valid;
    append_utf8(valid, detail::kReplacement);
    text.remove_prefix(bad + std::max<std::size_t>(1, incomplete_character(text, bad)));
  }
}

}  // namespace taesr
