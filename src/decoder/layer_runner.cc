#include "decoder/layer_runner.h"

#include <algorithm>
#include <cmath>

#include "decoder/rotary.h"
#include "decoder/vectors.h"

namespace taesr {
namespace {

// Least work that is worth taking, in bytes of weights and in numbers.
constexpr std::int64_t kLeastBytes = 8 * 1024;
constexpr std::int64_t kLeastNumbers = 1024;

std::int64_t least_rows(std::int64_t width) { return std::max<std::int64_t>(1, kLeastNumbers / width); }

void resize(std::vector<float>& values, std::int64_t size) {
  if (static_cast<std::int64_t>(values.size()) < size) values.resize(static_cast<std::size_t>(size));
}

}  // namespace

void Rows::clear() {
  tokens.clear();
  states.clear();
  pending.clear();
}

float* Rows::add(const Token& token, std::int64_t hidden) {
  tokens.push_back(token);
  const auto size = tokens.size() * static_cast<std::size_t>(hidden);
  states.resize(size);
  pending.resize(size);
  return states.data() + (count() - 1) * hidden;
}

void Rows::settle() {
  vectors::add(pending.data(), static_cast<std::int64_t>(pending.size()), states.data());
  std::fill(pending.begin(), pending.end(), 0.0F);
}

LayerRunner::LayerRunner(const DecoderConfig& config, const DecoderWeights& weights)
    : config_(config),
      weights_(weights),
      instructions_(int8::best_instructions()),
      frequencies_(rotary_frequencies(config)) {}

void LayerRunner::reserve(std::int64_t rows, std::int64_t positions, std::int64_t logits) {
  resize(normed_, rows * config_.hidden_size);
  for (auto* const buffer : {&queries_, &attended_}) resize(*buffer, rows * config_.heads * config_.head_dim);
  for (auto* const buffer : {&keys_, &values_}) resize(*buffer, rows * config_.kv_heads * config_.head_dim);
  for (auto* const buffer : {&gate_, &up_}) resize(*buffer, rows * config_.intermediate_size);
  resize(logits_, logits * config_.vocab_size);
  const std::int64_t widest =
      std::max({config_.hidden_size, config_.heads * config_.head_dim, config_.intermediate_size});
  const auto numbers = static_cast<std::size_t>(rows * widest);
  if (integers_.size() < numbers) {
    integers_.resize(numbers);
    scales_.resize(numbers / kGgmlBlock + 1);
    sums_.resize(numbers / kGgmlBlock + 1);
  }
  const std::size_t half = frequencies_.size();
  const auto first = static_cast<std::int64_t>(cosines_.size() / half);
  if (first >= positions) return;
  const auto size = static_cast<std::size_t>(std::max(positions, 2 * first)) * half;
  for (std::size_t i = cosines_.size(); i < size; ++i) {
    const float angle = static_cast<float>(i / half) * frequencies_[i % half];
    cosines_.push_back(std::cos(angle));
    sines_.push_back(std::sin(angle));
  }
}

void LayerRunner::embed(Member& member, const std::vector<int>& ids, Rows& rows) {
  const std::int64_t hidden = config_.hidden_size;
  member.each(rows.count(), least_rows(hidden), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      weights_.token.read_row(ids[static_cast<std::size_t>(i)], rows.states.data() + i * hidden);
    }
  });
}

void LayerRunner::apply(Member& member, std::int64_t index, Rows& rows) {
  const DecoderLayer& layer = weights_.layers[static_cast<std::size_t>(config_.unique_layer(index))];
  const std::int64_t count = rows.count();
  normalise(member, layer.attention_norm, rows);
  project(member, layer, index, rows);
  attend(member, index, rows);
  multiply(member, attended_, {{layer.output, count, rows.pending}});
  normalise(member, layer.mlp_norm, rows);
  multiply(member, normed_, {{layer.gate, count, gate_}, {layer.up, count, up_}});
  const std::int64_t width = config_.intermediate_size;
  member.each(count, least_rows(width), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      vectors::swiglu(gate_.data() + i * width, up_.data() + i * width, width);
    }
    quantise(gate_, width, begin, end);
  });
  multiply(member, gate_, {{layer.down, count, rows.pending}});
}

void LayerRunner::score(Member& member, Rows& rows) {
  normalise(member, weights_.final_norm, rows);
  multiply(member, normed_, {{weights_.output_layer(), rows.count(), logits_}});
}

/// Queries of all rows; keys and values of those whose layer keeps them.
void LayerRunner::project(Member& member, const DecoderLayer& layer, std::int64_t index, Rows& rows) {
  const std::int64_t storing = std::count_if(rows.tokens.begin(), rows.tokens.end(), [&](const auto& token) {
    return token.cache->stores(index + token.layer_offset);
  });
  multiply(
      member, normed_,
      {{layer.query, rows.count(), queries_}, {layer.key, storing, keys_}, {layer.value, storing, values_}});
  store_keys(member, index, storing, rows);
}

void LayerRunner::store_keys(Member& member, std::int64_t index, std::int64_t count, const Rows& rows) {
  const std::int64_t width = config_.kv_heads * config_.head_dim;
  member.each(count, least_rows(width), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const auto& [cache, position, offset] = rows.tokens[static_cast<std::size_t>(i)];
      rotate(position, config_.kv_heads, keys_.data() + i * width);
      const std::int64_t entry = cache->entries(index + offset).visible(position) - 1;
      cache->write(index + offset, entry, keys_.data() + i * width, values_.data() + i * width);
    }
  });
}

void LayerRunner::attend(Member& member, std::int64_t index, const Rows& rows) {
  const std::int64_t heads = config_.heads;
  const std::int64_t width = heads * config_.head_dim;
  member.each(rows.count() * heads, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const auto& [cache, position, offset] = rows.tokens[static_cast<std::size_t>(i / heads)];
      rotate(position, 1, queries_.data() + i * config_.head_dim);
      attend_head(cache->entries(index + offset), position, i % heads, i * config_.head_dim);
    }
  });
  member.each(rows.count(), least_rows(width),
              [&](std::int64_t begin, std::int64_t end) { quantise(attended_, width, begin, end); });
}

void LayerRunner::attend_head(const HostKvCache::Entries& entries, std::int64_t position, std::int64_t head,
                              std::int64_t at) {
  thread_local std::vector<float> weights;
  const std::int64_t count = entries.visible(position);
  resize(weights, count + HostKvCache::kPage);
  const std::int64_t kv_head = head / (config_.heads / config_.kv_heads);
  vectors::attend({.query = queries_.data() + at,
                   .pages = entries.pages.data(),
                   .offset = kv_head * 2 * config_.head_dim * HostKvCache::kPage,
                   .count = count,
                   .dim = config_.head_dim,
                   .scale = 1.0F / std::sqrt(static_cast<float>(config_.head_dim))},
                  weights.data(), attended_.data() + at);
}

void LayerRunner::rotate(std::int64_t position, std::int64_t heads, float* row) const {
  const std::int64_t half = config_.head_dim / 2;
  for (std::int64_t head = 0; head < heads; ++head, row += config_.head_dim) {
    vectors::rotate(row, row + half, cosines_.data() + position * half, sines_.data() + position * half,
                    half);
  }
}

/// Adds what is pending to the states, and writes their norms to normed_.
void LayerRunner::normalise(Member& member, const std::vector<float>& gain, Rows& rows) {
  const std::int64_t hidden = config_.hidden_size;
  member.each(rows.count(), least_rows(hidden), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      float* const state = rows.states.data() + i * hidden;
      vectors::add(rows.pending.data() + i * hidden, hidden, state);
      vectors::rms_norm(state, gain.data(), hidden, static_cast<float>(config_.norm_eps),
                        normed_.data() + i * hidden);
    }
    quantise(normed_, hidden, begin, end);
  });
}

/// Rows to the integers that products with blocks read. Where rows are not whole blocks there are no such
/// products.
void LayerRunner::quantise(const std::vector<float>& values, std::int64_t width, std::int64_t begin,
                           std::int64_t end) {
  if (width % blocks::kBlock != 0) return;
  const std::int64_t blocks = width / blocks::kBlock;
  blocks::quantise(instructions_, values.data() + begin * width, (end - begin) * blocks,
                   integers_.data() + begin * width, scales_.data() + begin * blocks,
                   sums_.data() + begin * blocks);
}

/// Products of the same rows with several matrices, one stage.
void LayerRunner::multiply(Member& member, const std::vector<float>& x,
                           std::initializer_list<Product> products) {
  const blocks::Inputs inputs{x.data(), integers_.data(), scales_.data(), sums_.data()};
  std::int64_t panels = 0;
  std::int64_t bytes = 0;  // as often as they are read
  for (const Product& product : products) {
    panels += product.matrix.panels();
    bytes += product.matrix.panels() * product.matrix.panel_bytes() * product.rows;
  }
  if (bytes == 0) return;
  const std::int64_t least = std::max<std::int64_t>(1, kLeastBytes * panels / bytes);
  member.each(panels, least, [&](std::int64_t begin, std::int64_t end) {
    std::int64_t first = 0;  // panel of the matrix, counted over all
    for (const Product& product : products) {
      const std::int64_t count = product.matrix.panels();
      const std::int64_t from = std::clamp<std::int64_t>(begin - first, 0, count);
      const std::int64_t to = std::clamp<std::int64_t>(end - first, 0, count);
      if (from < to && product.rows > 0) {
        blocks::multiply(instructions_, inputs, product.rows, product.matrix, from, to,
                         product.results.data());
      }
      first += count;
    }
  });
}

}  // namespace taesr
