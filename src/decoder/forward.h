#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "decoder/crew.h"
#include "decoder/kv_cache.h"
#include "decoder/router.h"
#include "decoder/weights.h"
#include "kernels/cpu/blocks/product.h"

namespace taesr {

enum class LogitsOf { kNone, kLastToken, kAllTokens };

/// Runs tokens of one sequence through a decoder. Keeps its memory from one run to the next, so that decoding
/// token by token allocates next to nothing. Not for several threads at once; config and weights must outlive
/// it.
class ForwardPass {
 public:
  ForwardPass(const DecoderConfig& config, const DecoderWeights& weights);

  /// Runs tokens as the continuation of what `cache` holds, and adds them to it. Ids are below vocab_size,
  /// and cache.length() plus their number is at most max_positions: check_tokens. Returns logits [0, 1 or
  /// tokens, vocab_size], which the next run overwrites.
  std::span<float> run(std::span<const int> tokens, KvCache& cache, LogitsOf wanted);

  /// How many recursions each token of the last run passed.
  [[nodiscard]] std::vector<int> recursions() const;

 private:
  using Member = Crew::Member;
  using Matrix = blocks::PackedMatrix;
  struct Product {
    const Matrix& matrix;
    std::vector<float>& results;
  };

  /// Tokens on their way through some layers.
  struct Rows {
    std::vector<float> states;            // [rows, hidden]
    std::vector<std::int64_t> tokens;     // which of the run's tokens each row is, ascending
    std::vector<std::int64_t> positions;  // of these tokens in the sequence

    [[nodiscard]] std::int64_t count() const { return static_cast<std::int64_t>(tokens.size()); }
  };

  void prepare(std::int64_t tokens, KvCache& cache);
  void add_entries(std::int64_t begin, std::int64_t end, const Rows& rows, KvCache& cache);
  void find_rotations(std::int64_t first, std::int64_t count);
  void run_layers(Member& member, std::span<const int> tokens, KvCache& cache);
  void recur(Member& member, std::int64_t recursion, KvCache& cache);
  void choose(std::int64_t recursion, KvCache& cache);
  void apply(Member& member, std::int64_t index, Rows& rows, KvCache& cache);
  void store_keys(Member& member, std::int64_t index, const Rows& rows, KvCache& cache);
  void attend(Member& member, const KvCache::Entries& entries, const Rows& rows);
  void attend_head(const KvCache::Entries& entries, std::int64_t position, std::int64_t row,
                   std::int64_t head);
  void rotate(std::int64_t token, std::int64_t heads, float* row) const;
  void normalise(Member& member, const std::vector<float>& gain, Rows& rows, std::int64_t first);
  void quantise(const std::vector<float>& values, std::int64_t width, std::int64_t begin, std::int64_t end);
  void multiply(Member& member, const std::vector<float>& x, std::int64_t rows,
                std::initializer_list<Product> products);

  const DecoderConfig& config_;
  const DecoderWeights& weights_;
  const int8::Instructions instructions_;
  Crew crew_;
  Router router_;
  Rows all_;     // of the run
  // Those that pass each recursion, with routing. Each recursion has its own: a thread may still be on its
  // way out of one when others choose the tokens of the next.
  std::vector<Rows> active_;
  std::vector<float> normed_, mixed_, queries_, attended_, keys_, values_, gate_, up_;  // by row
  std::vector<float> logits_;
  std::vector<std::int8_t> integers_;  // of a product's inputs
  std::vector<float> scales_;
  std::vector<std::int32_t> sums_;
  std::vector<float> frequencies_;       // [head_dim / 2]
  std::vector<float> cosines_, sines_;   // [tokens, head_dim / 2]
};

}  // namespace taesr
