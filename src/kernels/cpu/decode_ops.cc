#include "kernels/decode_ops.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include <torch/library.h>

#include "kernels/cpu/decode_rows.h"
#include "kernels/dispatch.h"

namespace taesr {
namespace {

using Optional = std::optional<at::Tensor>;
using namespace decode;

void gather(const at::Tensor& table, const at::Tensor& rows, bool by_state, at::Tensor& out) {
  with_element(table, [&]<class T>(T) {
    const auto all = rows_of(rows);
    for (std::size_t i = 0; i < all.size(); ++i) {
      float* const to = row_of<float>(out, i);
      std::fill_n(to, out.size(1), 0.0F);
      if (all[i].state < 0) continue;
      const T* const from = row_of<T>(table, static_cast<std::size_t>(by_state ? all[i].state : all[i].id));
      std::copy_n(from, out.size(1), to);
    }
  });
}

void add_rms_norm(at::Tensor& x, const Optional& y, const at::Tensor& gain, double eps, at::Tensor& out) {
  with_element(out, [&]<class T>(T) {
    const std::int64_t width = x.size(1);
    const float* const gains = gain.const_data_ptr<float>();
    for (std::size_t i = 0; i < static_cast<std::size_t>(x.size(0)); ++i) {
      float* const state = row_of<float>(x, i);
      float square = 0;
      for (std::int64_t k = 0; k < width; ++k) {
        if (y) state[k] += static_cast<float>(row_of<T>(*y, i)[k]);
        square += state[k] * state[k];
      }
      const float scale = 1.0F / std::sqrt(square / static_cast<float>(width) + static_cast<float>(eps));
      for (std::int64_t k = 0; k < width; ++k) row_of<T>(out, i)[k] = static_cast<T>(state[k] * scale * gains[k]);
    }
  });
}

void swiglu(const at::Tensor& gate_up, at::Tensor& out) {
  with_element(out, [&]<class T>(T) {
    const std::int64_t width = out.size(1);
    for (std::size_t i = 0; i < static_cast<std::size_t>(out.size(0)); ++i) {
      const T* const row = row_of<T>(gate_up, i);
      for (std::int64_t k = 0; k < width; ++k) {
        const auto gate = static_cast<float>(row[k]);
        const auto up = static_cast<float>(row[width + k]);
        row_of<T>(out, i)[k] = static_cast<T>(gate / (1.0F + std::exp(-gate)) * up);
      }
    }
  });
}

float dot(const float* a, const float* b, std::int64_t size) {
  float sum = 0;
  for (std::int64_t k = 0; k < size; ++k) sum += a[k] * b[k];
  return sum;
}

/// Token choice: the most probable recursion after the bias, the last of equal ones, and its probability.
void choose_depth(const float* state, const at::Tensor& weights, const at::Tensor& bias, float& chance,
                  std::int32_t& depth) {
  std::vector<float> scores(static_cast<std::size_t>(weights.size(0)));
  for (std::size_t r = 0; r < scores.size(); ++r) scores[r] = dot(row_of<float>(weights, r), state, weights.size(1));
  const float most = *std::max_element(scores.begin(), scores.end());
  float total = 0;
  for (float& score : scores) total += score = std::exp(score - most);
  const auto biased = [&](std::size_t r) { return scores[r] / total + bias.const_data_ptr<float>()[r]; };
  std::size_t best = 0;
  for (std::size_t r = 1; r < scores.size(); ++r) best = biased(r) >= biased(best) ? r : best;
  chance = scores[best] / total;
  depth = static_cast<std::int32_t>(best);
}

/// The router before recursion `next`, if there is one.
void route(std::int64_t kind, std::int32_t next, const float* state, const at::Tensor& weights, const Optional& bias,
           float& chance, std::int32_t& depth, std::int32_t& going) {
  if (kind == DecodeRouter::kTokenChoice) {
    if (next == 0) choose_depth(state, weights, *bias, chance, depth);
    going = depth;
  } else if (next < weights.size(0)) {
    const float score = dot(row_of<float>(weights, static_cast<std::size_t>(next)), state, weights.size(1));
    chance = 1.0F / (1.0F + std::exp(-score));
    going = next == 0 || score >= 0 ? 1 : 0;
  }
}

void merge(at::Tensor& values, at::Tensor& chances, at::Tensor& depths, const at::Tensor& x, const Optional& y,
           const at::Tensor& rows, std::int64_t kind, bool preserving, double scale, const Optional& weights,
           const Optional& bias, at::Tensor& going) {
  const auto all = rows_of(rows);
  const std::int64_t width = x.size(1);
  const bool by_token = kind == DecodeRouter::kTokenChoice;
  for (std::size_t i = 0; i < all.size(); ++i) {
    const auto& row = all[i];
    if (row.state < 0) continue;
    std::vector<float> result(row_of<float>(x, i), row_of<float>(x, i) + width);
    if (y) {
      with_element(*y, [&]<class T>(T) {
        const T* const added = row_of<T>(*y, i);
        for (std::int64_t k = 0; k < width; ++k) result[static_cast<std::size_t>(k)] += static_cast<float>(added[k]);
      });
    }
    float* const state = row_of<float>(values, static_cast<std::size_t>(row.state));
    float& chance = chances.mutable_data_ptr<float>()[row.state];
    std::int32_t& depth = depths.mutable_data_ptr<std::int32_t>()[row.state];
    if (row.recursion < 0 || kind == DecodeRouter::kNone || (by_token && depth != row.recursion)) {
      std::copy(result.begin(), result.end(), state);
    } else {
      const float whole = by_token ? static_cast<float>(weights->size(0)) : 2.0F;
      const float gate = preserving ? std::min(1.0F, whole * chance) : static_cast<float>(scale) * chance;
      for (std::int64_t k = 0; k < width; ++k) {
        state[k] += gate * (result[static_cast<std::size_t>(k)] - (preserving ? state[k] : 0.0F));
      }
    }
    if (kind == DecodeRouter::kNone) continue;
    route(kind, row.recursion + 1, state, *weights, bias, chance, depth, going.mutable_data_ptr<std::int32_t>()[i]);
  }
}

void top(const at::Tensor& logits, at::Tensor& scores, at::Tensor& tokens) {
  std::vector<std::int32_t> order(static_cast<std::size_t>(logits.size(1)));
  for (std::size_t i = 0; i < static_cast<std::size_t>(logits.size(0)); ++i) {
    const float* const row = row_of<float>(logits, i);
    const std::int64_t count = tokens.size(1);
    std::int32_t* const token = row_of<std::int32_t>(tokens, i);
    if (!std::all_of(row, row + logits.size(1), [](float x) { return std::isfinite(x); })) {
      std::fill_n(token, count, -1);
      continue;
    }
    std::iota(order.begin(), order.end(), 0);
    std::partial_sort(order.begin(), order.begin() + count, order.end(), [&](std::int32_t a, std::int32_t b) {
      return row[a] != row[b] ? row[a] > row[b] : a < b;
    });
    std::copy_n(order.begin(), count, token);
    for (std::int64_t k = 0; k < count; ++k) row_of<float>(scores, i)[k] = row[token[k]];
  }
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(taesr, library) {
  library.def("decode_gather(Tensor table, Tensor rows, bool by_state, Tensor(a!) out) -> ()");
  library.def("add_rms_norm_(Tensor(a!) x, Tensor? y, Tensor gain, float eps, Tensor(b!) out) -> ()");
  library.def("decode_swiglu(Tensor gate_up, Tensor(a!) out) -> ()");
  library.def(
      "decode_merge(Tensor(a!) states, Tensor(b!) chances, Tensor(c!) depths, Tensor x, Tensor? y, Tensor rows, "
      "int kind, bool preserving, float scale, Tensor? weights, Tensor? bias, Tensor(d!) going) -> ()");
  library.def("decode_top(Tensor logits, Tensor(a!) scores, Tensor(b!) tokens) -> ()");
}

TORCH_LIBRARY_IMPL(taesr, CPU, library) {
  library.impl("decode_gather", &gather);
  library.impl("add_rms_norm_", &add_rms_norm);
  library.impl("decode_swiglu", &swiglu);
  library.impl("decode_merge", &merge);
  library.impl("decode_top", &top);
}

void decode_gather(const at::Tensor& table, const at::Tensor& rows, bool by_state, at::Tensor& out) {
  static const auto op = find_operator<decltype(gather)>("taesr::decode_gather");
  op.call(table, rows, by_state, out);
}

void add_rms_norm_(at::Tensor& x, const std::optional<at::Tensor>& y, const at::Tensor& gain, double eps,
                   at::Tensor& out) {
  static const auto op = find_operator<decltype(add_rms_norm)>("taesr::add_rms_norm_");
  op.call(x, y, gain, eps, out);
}

void decode_swiglu(const at::Tensor& gate_up, at::Tensor& out) {
  static const auto op = find_operator<decltype(swiglu)>("taesr::decode_swiglu");
  op.call(gate_up, out);
}

void decode_merge(DecodeStates& states, const at::Tensor& x, const std::optional<at::Tensor>& y,
                  const at::Tensor& rows, const DecodeRouter& router, at::Tensor& going) {
  static const auto op = find_operator<decltype(merge)>("taesr::decode_merge");
  const auto optional = [](const at::Tensor& tensor) { return tensor.defined() ? Optional(tensor) : std::nullopt; };
  op.call(states.values, states.chances, states.depths, x, y, rows, router.kind, router.preserving, router.scale,
          optional(router.weights), optional(router.bias), going);
}

void decode_top(const at::Tensor& logits, at::Tensor& scores, at::Tensor& tokens) {
  static const auto op = find_operator<decltype(top)>("taesr::decode_top");
  op.call(logits, scores, tokens);
}

}  // namespace taesr
