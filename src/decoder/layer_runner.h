#pragma once

#include <cstdint>
#include <initializer_list>
#include <vector>

#include "decoder/crew.h"
#include "decoder/host_kv_cache.h"
#include "decoder/weights.h"
#include "kernels/cpu/blocks/product.h"

namespace taesr {

/// Tokens on their way through some layers, of one sequence or of many.
struct Rows {
  struct Token {
    HostKvCache* cache;         // of its sequence
    std::int64_t position;      // in its sequence
    std::int64_t layer_offset;  // layers that it is ahead of the first application of a shared one
  };

  std::vector<Token> tokens;
  std::vector<float> states;   // [rows, hidden]
  std::vector<float> pending;  // [rows, hidden]: what the last product adds to the states

  [[nodiscard]] std::int64_t count() const { return static_cast<std::int64_t>(tokens.size()); }
  void clear();
  /// Adds a row and returns its states, to be filled.
  float* add(const Token& token, std::int64_t hidden);
  /// Adds what is pending to the states.
  void settle();
};

/// Applies layers to rows. A row's results depend on this row and its sequence alone, to the last bit,
/// whichever rows are beside it. Keeps its memory from one run to the next.
class LayerRunner {
 public:
  using Member = Crew::Member;

  LayerRunner(const DecoderConfig& config, const DecoderWeights& weights);

  /// Most stages that apply() takes.
  static constexpr std::int64_t kStages = 10;

  /// Makes room for so many rows, of tokens before position `positions`, and so many rows of logits. Not
  /// while a crew works.
  void reserve(std::int64_t rows, std::int64_t positions, std::int64_t logits);

  /// States of tokens from the table.
  void embed(Member& member, const std::vector<int>& ids, Rows& rows);
  /// One layer; a token's is `index` + layer_offset. Their caches have entries for the tokens, and the rows
  /// whose layer stores keys come before those that read another's.
  void apply(Member& member, std::int64_t index, Rows& rows);
  /// logits() of rows.
  void score(Member& member, Rows& rows);

  /// [rows, vocab_size]
  [[nodiscard]] std::vector<float>& logits() { return logits_; }

 private:
  struct Product {
    const blocks::PackedMatrix& matrix;
    std::int64_t rows;
    std::vector<float>& results;
  };

  void project(Member& member, const DecoderLayer& layer, std::int64_t index, Rows& rows);
  void store_keys(Member& member, std::int64_t index, std::int64_t count, const Rows& rows);
  void attend(Member& member, std::int64_t index, const Rows& rows);
  void attend_head(const HostKvCache::Entries& entries, std::int64_t position, std::int64_t head,
                   std::int64_t at);
  void rotate(std::int64_t position, std::int64_t heads, float* row) const;
  void normalise(Member& member, const std::vector<float>& gain, Rows& rows);
  void quantise(const std::vector<float>& values, std::int64_t width, std::int64_t begin, std::int64_t end);
  void multiply(Member& member, const std::vector<float>& x, std::initializer_list<Product> products);

  const DecoderConfig& config_;
  const DecoderWeights& weights_;
  const int8::Instructions instructions_;
  std::vector<float> normed_, queries_, attended_, keys_, values_, gate_, up_;  // by row
  std::vector<float> logits_;
  std::vector<std::int8_t> integers_;  // of a product's inputs
  std::vector<float> scales_;
  std::vector<std::int32_t> sums_;
  std::vector<float> frequencies_;      // [head_dim / 2]
  std::vector<float> cosines_, sines_;  // [positions, head_dim / 2]
};

}  // namespace taesr
