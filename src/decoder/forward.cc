#include "decoder/forward.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "decoder/vectors.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

constexpr std::int64_t kStagesOfLayer = 12;
constexpr std::int64_t kOtherStages = 8;
constexpr std::int64_t kStagesOfRecursion = 2;

// Least work that is worth taking, in bytes of weights and in numbers.
constexpr std::int64_t kLeastBytes = 8 * 1024;
constexpr std::int64_t kLeastNumbers = 1024;

std::size_t stages_of(const DecoderConfig& config) {
  return static_cast<std::size_t>(config.layers * kStagesOfLayer + config.recursions * kStagesOfRecursion +
                                  kOtherStages);
}

std::int64_t least_rows(std::int64_t width) { return std::max<std::int64_t>(1, kLeastNumbers / width); }

void resize(std::vector<float>& values, std::int64_t size) {
  if (static_cast<std::int64_t>(values.size()) < size) values.resize(static_cast<std::size_t>(size));
}

}  // namespace

ForwardPass::ForwardPass(const DecoderConfig& config, const DecoderWeights& weights)
    : config_(config),
      weights_(weights),
      instructions_(int8::best_instructions()),
      crew_(stages_of(config)),
      router_(config, weights),
      active_(config.routing == Routing::kNone ? 0 : static_cast<std::size_t>(config.recursions)) {
  // Angles as the reference has them, in float32: at far positions their rounding is part of the model.
  for (std::int64_t i = 0; i < config.head_dim / 2; ++i) {
    const auto exponent = static_cast<float>(2 * i) / static_cast<float>(config.head_dim);
    frequencies_.push_back(1.0F / std::pow(static_cast<float>(config.rope_theta), exponent));
  }
}

std::span<float> ForwardPass::run(std::span<const int> tokens, KvCache& cache, LogitsOf wanted) {
  all_.tokens.clear();
  if (tokens.empty()) return {};
  const auto count = static_cast<std::int64_t>(tokens.size());
  prepare(count, cache);
  const std::int64_t first = wanted == LogitsOf::kAllTokens   ? 0
                             : wanted == LogitsOf::kLastToken ? count - 1
                                                              : count;
  resize(logits_, (count - first) * config_.vocab_size);
  crew_.run([&](Member& member) {
    run_layers(member, tokens, cache);
    normalise(member, weights_.final_norm, all_, first);
    multiply(member, normed_, count - first, {{weights_.output_layer(), logits_}});
  });
  cache.advance(count);
  return std::span(logits_).first(static_cast<std::size_t>((count - first) * config_.vocab_size));
}

std::vector<int> ForwardPass::recursions() const {
  const bool routed = config_.routing != Routing::kNone;
  std::vector<int> passed(all_.tokens.size(), routed ? 0 : static_cast<int>(config_.recursions));
  if (passed.empty()) return passed;
  for (const Rows& rows : active_) {
    for (const std::int64_t token : rows.tokens) ++passed[static_cast<std::size_t>(token)];
  }
  return passed;
}

void ForwardPass::prepare(std::int64_t tokens, KvCache& cache) {
  all_.tokens.resize(static_cast<std::size_t>(tokens));
  std::iota(all_.tokens.begin(), all_.tokens.end(), 0);
  all_.positions.resize(all_.tokens.size());
  std::iota(all_.positions.begin(), all_.positions.end(), cache.length());
  find_rotations(cache.length(), tokens);
  for (auto* const buffer : {&all_.states, &normed_, &mixed_}) resize(*buffer, tokens * config_.hidden_size);
  for (Rows& rows : active_) resize(rows.states, tokens * config_.hidden_size);
  for (auto* const buffer : {&queries_, &attended_}) {
    resize(*buffer, tokens * config_.heads * config_.head_dim);
  }
  for (auto* const buffer : {&keys_, &values_}) resize(*buffer, tokens * config_.kv_heads * config_.head_dim);
  for (auto* const buffer : {&gate_, &up_}) resize(*buffer, tokens * config_.intermediate_size);
  const std::int64_t widest =
      std::max({config_.hidden_size, config_.heads * config_.head_dim, config_.intermediate_size});
  const auto numbers = static_cast<std::size_t>(tokens * widest);
  if (integers_.size() < numbers) {
    integers_.resize(numbers);
    scales_.resize(numbers / kGgmlBlock + 1);
    sums_.resize(numbers / kGgmlBlock + 1);
  }
  const std::int64_t ends = config_.routing == Routing::kNone ? config_.layers : config_.end_layers();
  add_entries(0, ends, all_, cache);
  if (config_.routing != Routing::kNone) add_entries(config_.layers - ends, config_.layers, all_, cache);
}

/// Room for the keys and values of rows in the layers from `begin` to before `end`.
void ForwardPass::add_entries(std::int64_t begin, std::int64_t end, const Rows& rows, KvCache& cache) {
  for (std::int64_t i = begin; i < end; ++i) {
    if (cache.stores(i)) cache.add(i, rows.positions);
  }
}

void ForwardPass::find_rotations(std::int64_t first, std::int64_t count) {
  const auto half = static_cast<std::int64_t>(frequencies_.size());
  resize(cosines_, count * half);
  resize(sines_, count * half);
  for (std::int64_t i = 0; i < count * half; ++i) {
    const float angle =
        static_cast<float>(first + i / half) * frequencies_[static_cast<std::size_t>(i % half)];
    cosines_[static_cast<std::size_t>(i)] = std::cos(angle);
    sines_[static_cast<std::size_t>(i)] = std::sin(angle);
  }
}

/// Leaves what the last layer adds in mixed_.
void ForwardPass::run_layers(Member& member, std::span<const int> tokens, KvCache& cache) {
  const std::int64_t hidden = config_.hidden_size;
  member.each(all_.count(), least_rows(hidden), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      weights_.token.read_row(tokens[static_cast<std::size_t>(i)], all_.states.data() + i * hidden);
    }
    std::fill(mixed_.data() + begin * hidden, mixed_.data() + end * hidden, 0.0F);
  });
  if (config_.routing == Routing::kNone) {
    for (std::int64_t i = 0; i < config_.layers; ++i) apply(member, i, all_, cache);
    return;
  }
  const std::int64_t ends = config_.end_layers();
  for (std::int64_t i = 0; i < ends; ++i) apply(member, i, all_, cache);
  for (std::int64_t r = 0; r < config_.recursions; ++r) recur(member, r, cache);
  for (std::int64_t i = config_.layers - ends; i < config_.layers; ++i) apply(member, i, all_, cache);
}

/// One recursion of the shared layers, with the tokens that the router chooses.
void ForwardPass::recur(Member& member, std::int64_t recursion, KvCache& cache) {
  const std::int64_t hidden = config_.hidden_size;
  Rows& active = active_[static_cast<std::size_t>(recursion)];
  member.once([&] { choose(recursion, cache); });
  if (active.count() == 0) return;
  const std::int64_t first = config_.end_layers() + recursion * config_.block_layers();
  for (std::int64_t i = 0; i < config_.block_layers(); ++i) apply(member, first + i, active, cache);
  member.once([&] {
    vectors::add(mixed_.data(), active.count() * hidden, active.states.data());
    for (std::int64_t i = 0; i < active.count(); ++i) {
      const std::int64_t token = active.tokens[static_cast<std::size_t>(i)];
      router_.merge(recursion, token, active.states.data() + i * hidden, all_.states.data() + token * hidden);
    }
    std::fill_n(mixed_.data(), all_.count() * hidden, 0.0F);
  });
}

void ForwardPass::choose(std::int64_t recursion, KvCache& cache) {
  const std::int64_t hidden = config_.hidden_size;
  Rows& active = active_[static_cast<std::size_t>(recursion)];
  if (recursion == 0) vectors::add(mixed_.data(), all_.count() * hidden, all_.states.data());
  active.tokens = recursion == 0 ? all_.tokens : active_[static_cast<std::size_t>(recursion - 1)].tokens;
  router_.choose(recursion, all_.states, active.tokens);
  active.positions.clear();
  float* row = active.states.data();
  for (const std::int64_t token : active.tokens) {
    active.positions.push_back(all_.positions[static_cast<std::size_t>(token)]);
    row = std::copy_n(all_.states.data() + token * hidden, hidden, row);
  }
  std::fill_n(mixed_.data(), all_.count() * hidden, 0.0F);
  const std::int64_t first = config_.end_layers() + recursion * config_.block_layers();
  add_entries(first, first + config_.block_layers(), active, cache);
}

/// One layer. What it adds last stays in mixed_ until the next one begins.
void ForwardPass::apply(Member& member, std::int64_t index, Rows& rows, KvCache& cache) {
  const DecoderLayer& layer = weights_.layers[static_cast<std::size_t>(config_.unique_layer(index))];
  const std::int64_t count = rows.count();
  normalise(member, layer.attention_norm, rows, 0);
  if (cache.stores(index)) {
    multiply(member, normed_, count, {{layer.query, queries_}, {layer.key, keys_}, {layer.value, values_}});
    store_keys(member, index, rows, cache);
  } else {
    multiply(member, normed_, count, {{layer.query, queries_}});
  }
  attend(member, cache.entries(index), rows);
  multiply(member, attended_, count, {{layer.output, mixed_}});
  normalise(member, layer.mlp_norm, rows, 0);
  multiply(member, normed_, count, {{layer.gate, gate_}, {layer.up, up_}});
  const std::int64_t width = config_.intermediate_size;
  member.each(count, least_rows(width), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      vectors::swiglu(gate_.data() + i * width, up_.data() + i * width, width);
    }
    quantise(gate_, width, begin, end);
  });
  multiply(member, gate_, count, {{layer.down, mixed_}});
}

void ForwardPass::store_keys(Member& member, std::int64_t index, const Rows& rows, KvCache& cache) {
  const std::int64_t width = config_.kv_heads * config_.head_dim;
  const std::int64_t first = static_cast<std::int64_t>(cache.entries(index).positions.size()) - rows.count();
  member.each(rows.count(), least_rows(width), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      rotate(rows.tokens[static_cast<std::size_t>(i)], config_.kv_heads, keys_.data() + i * width);
      cache.write(index, first + i, keys_.data() + i * width, values_.data() + i * width);
    }
  });
}

void ForwardPass::attend(Member& member, const KvCache::Entries& entries, const Rows& rows) {
  const std::int64_t heads = config_.heads;
  const std::int64_t width = heads * config_.head_dim;
  member.each(rows.count() * heads, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const auto row = static_cast<std::size_t>(i / heads);
      rotate(rows.tokens[row], 1, queries_.data() + i * config_.head_dim);
      attend_head(entries, rows.positions[row], i / heads, i % heads);
    }
  });
  member.each(rows.count(), least_rows(width),
              [&](std::int64_t begin, std::int64_t end) { quantise(attended_, width, begin, end); });
}

void ForwardPass::attend_head(const KvCache::Entries& entries, std::int64_t position, std::int64_t row,
                              std::int64_t head) {
  thread_local std::vector<float> weights;
  const std::int64_t count = entries.visible(position);
  resize(weights, count + KvCache::kPage);
  const std::int64_t kv_head = head / (config_.heads / config_.kv_heads);
  const std::int64_t at = (row * config_.heads + head) * config_.head_dim;
  vectors::attend({.query = queries_.data() + at,
                   .pages = entries.pages.data(),
                   .offset = kv_head * 2 * config_.head_dim * KvCache::kPage,
                   .count = count,
                   .dim = config_.head_dim,
                   .scale = 1.0F / std::sqrt(static_cast<float>(config_.head_dim))},
                  weights.data(), attended_.data() + at);
}

void ForwardPass::rotate(std::int64_t token, std::int64_t heads, float* row) const {
  const std::int64_t half = config_.head_dim / 2;
  for (std::int64_t head = 0; head < heads; ++head, row += config_.head_dim) {
    vectors::rotate(row, row + half, cosines_.data() + token * half, sines_.data() + token * half, half);
  }
}

/// Adds mixed_ to the states of rows from `first` on, and writes their norms to the beginning of normed_.
void ForwardPass::normalise(Member& member, const std::vector<float>& gain, Rows& rows, std::int64_t first) {
  const std::int64_t hidden = config_.hidden_size;
  member.each(rows.count() - first, least_rows(hidden), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      float* const state = rows.states.data() + (first + i) * hidden;
      vectors::add(mixed_.data() + (first + i) * hidden, hidden, state);
      vectors::rms_norm(state, gain.data(), hidden, static_cast<float>(config_.norm_eps),
                        normed_.data() + i * hidden);
    }
    quantise(normed_, hidden, begin, end);
  });
}

/// Rows to the integers that products with blocks read. Where rows are not whole blocks there are no such
/// products.
void ForwardPass::quantise(const std::vector<float>& values, std::int64_t width, std::int64_t begin,
                           std::int64_t end) {
  if (width % blocks::kBlock != 0) return;
  const std::int64_t blocks = width / blocks::kBlock;
  blocks::quantise(instructions_, values.data() + begin * width, (end - begin) * blocks,
                   integers_.data() + begin * width, scales_.data() + begin * blocks,
                   sums_.data() + begin * blocks);
}

/// Products of the same rows with several matrices, one stage.
void ForwardPass::multiply(Member& member, const std::vector<float>& x, std::int64_t rows,
                           std::initializer_list<Product> products) {
  const blocks::Inputs inputs{x.data(), integers_.data(), scales_.data(), sums_.data()};
  std::int64_t panels = 0;
  std::int64_t bytes = 0;
  for (const Product& product : products) {
    panels += product.matrix.panels();
    bytes += product.matrix.panels() * product.matrix.panel_bytes();
  }
  if (rows == 0) return;
  const std::int64_t least = std::max<std::int64_t>(1, kLeastBytes * panels / (bytes * rows));
  member.each(panels, least, [&](std::int64_t begin, std::int64_t end) {
    std::int64_t first = 0;  // panel of the matrix, counted over all
    for (const Product& product : products) {
      const std::int64_t count = product.matrix.panels();
      const std::int64_t from = std::clamp<std::int64_t>(begin - first, 0, count);
      const std::int64_t to = std::clamp<std::int64_t>(end - first, 0, count);
      if (from < to) {
        blocks::multiply(instructions_, inputs, rows, product.matrix, from, to, product.results.data());
      }
      first += count;
    }
  });
}

}  // namespace taesr
