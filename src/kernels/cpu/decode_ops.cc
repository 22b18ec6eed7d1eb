#include "kernels/decode_ops.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>
#include <vector>

#include <torch/library.h>

#include <c10/util/BFloat16.h>

#include "kernels/dispatch.h"
#include "taesr/errors.h"

// What the operators mean, value by value: the engine on the GPU is tested with these, the CPU's own is faster.

namespace taesr {
namespace {

using Optional = std::optional<at::Tensor>;

std::span<const DecodeRow> rows_of(const at::Tensor& rows) {
  return {reinterpret_cast<const DecodeRow*>(rows.const_data_ptr<std::int32_t>()),
          static_cast<std::size_t>(rows.size(0))};
}

/// Calls job(T()) for the element type of `x`.
template <class Job>
void with_element(const at::Tensor& x, const Job& job) {
  if (x.scalar_type() == at::kFloat) return job(float());
  if (x.scalar_type() == at::kBFloat16) return job(c10::BFloat16());
  throw InvalidArgument("a tensor is " + std::string(c10::toString(x.scalar_type())) + "; allowed: float32, bfloat16");
}

template <class T>
const T* row_of(const at::Tensor& x, std::size_t row) {
  return x.const_data_ptr<T>() + static_cast<std::int64_t>(row) * x.size(1);
}

template <class T>
T* row_of(at::Tensor& x, std::size_t row) {
  return x.mutable_data_ptr<T>() + static_cast<std::int64_t>(row) * x.size(1);
}

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

/// A head's value `dim` after its pair has been turned.
template <class T>
float turned(const T* head, std::int64_t dim, std::int64_t size, const float* angles) {
  const std::int64_t half = size / 2;
  const std::int64_t pair = dim % half;
  const auto first = static_cast<float>(head[pair]);
  const auto second = static_cast<float>(head[pair + half]);
  return dim < half ? first * angles[pair] - second * angles[pair + half]
                    : second * angles[pair] + first * angles[pair + half];
}

/// Where one head's keys [kDecodePage, head_dim] of a list's page begin; its values follow.
template <class T>
T* page_of(const KvPages& pages, const DecodeRow& row, std::int64_t page, std::int64_t slot, std::int64_t head,
           std::int64_t size) {
  const std::int64_t address = pages.addresses.const_data_ptr<std::int64_t>()[row.list + page];
  return reinterpret_cast<T*>(address) + ((slot + row.slot) * pages.kv_heads + head) * 2 * kDecodePage * size;
}

void append(const at::Tensor& qkv, const at::Tensor& rows, const at::Tensor& addresses, const at::Tensor& angles,
            std::int64_t heads, std::int64_t kv_heads, std::int64_t slot) {
  const KvPages pages{addresses, angles, heads, kv_heads};
  const std::int64_t size = angles.size(1);
  with_element(qkv, [&]<class T>(T) {
    const auto all = rows_of(rows);
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (all[i].entry < 0) continue;
      const float* const turn = row_of<float>(angles, static_cast<std::size_t>(all[i].position));
      for (std::int64_t head = 0; head < kv_heads; ++head) {
        const T* const key = row_of<T>(qkv, i) + (heads + head) * size;
        const T* const value = key + kv_heads * size;
        T* const keys = page_of<T>(pages, all[i], all[i].entry / kDecodePage, slot, head, size) +
                        all[i].entry % kDecodePage * size;
        for (std::int64_t k = 0; k < size; ++k) keys[k] = static_cast<T>(turned(key, k, size, turn));
        std::copy_n(value, size, keys + kDecodePage * size);
      }
    }
  });
}

/// One head of one row.
template <class T>
void attend_head(const KvPages& pages, const DecodeRow& row, std::int64_t slot, std::int64_t head, const T* query,
                 T* out) {
  const std::int64_t size = pages.angles.size(1);
  const float* const turn = row_of<float>(pages.angles, static_cast<std::size_t>(row.position));
  const std::int64_t kv_head = head / (pages.heads / pages.kv_heads);
  const auto entry_of = [&](std::int64_t i) {
    return page_of<const T>(pages, row, i / kDecodePage, slot, kv_head, size) + i % kDecodePage * size;
  };
  std::vector<float> turned_query(static_cast<std::size_t>(size));
  for (std::int64_t k = 0; k < size; ++k) turned_query[static_cast<std::size_t>(k)] = turned(query, k, size, turn);
  std::vector<float> weights(static_cast<std::size_t>(row.visible));
  float largest = -std::numeric_limits<float>::infinity();
  for (std::int64_t i = 0; i < row.visible; ++i) {
    float score = 0;
    const T* const key = entry_of(i);
    for (std::int64_t k = 0; k < size; ++k) {
      score += turned_query[static_cast<std::size_t>(k)] * static_cast<float>(key[k]);
    }
    score /= std::sqrt(static_cast<float>(size));
    weights[static_cast<std::size_t>(i)] = score;
    largest = std::max(largest, score);
  }
  float total = 0;
  for (float& weight : weights) total += weight = std::exp(weight - largest);
  for (std::int64_t k = 0; k < size; ++k) {
    float sum = 0;
    for (std::int64_t i = 0; i < row.visible; ++i) {
      sum += weights[static_cast<std::size_t>(i)] * static_cast<float>(entry_of(i)[kDecodePage * size + k]);
    }
    out[k] = static_cast<T>(row.visible > 0 ? sum / total : 0.0F);
  }
}

void attend(const at::Tensor& qkv, const at::Tensor& rows, const at::Tensor& addresses, const at::Tensor& angles,
            std::int64_t heads, std::int64_t kv_heads, std::int64_t slot, at::Tensor&, at::Tensor& out) {
  const KvPages pages{addresses, angles, heads, kv_heads};
  with_element(qkv, [&]<class T>(T) {
    const auto all = rows_of(rows);
    for (std::size_t i = 0; i < all.size(); ++i) {
      for (std::int64_t head = 0; head < heads; ++head) {
        const std::int64_t at = head * angles.size(1);
        attend_head(pages, all[i], slot, head, row_of<T>(qkv, i) + at, row_of<T>(out, i) + at);
      }
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
        for (std::int64_t k = 0; k < width; ++k) result[static_cast<std::size_t>(k)] += static_cast<float>(row_of<T>(*y, i)[k]);
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

void best(const at::Tensor& logits, at::Tensor& found) {
  for (std::size_t i = 0; i < static_cast<std::size_t>(logits.size(0)); ++i) {
    const float* const row = row_of<float>(logits, i);
    const bool finite = std::all_of(row, row + logits.size(1), [](float x) { return std::isfinite(x); });
    const auto at = static_cast<std::int32_t>(std::max_element(row, row + logits.size(1)) - row);
    found.mutable_data_ptr<std::int32_t>()[i] = finite ? at : -1;
  }
}

}  // namespace

TORCH_LIBRARY_FRAGMENT(taesr, library) {
  library.def("decode_gather(Tensor table, Tensor rows, bool by_state, Tensor(a!) out) -> ()");
  library.def("add_rms_norm_(Tensor(a!) x, Tensor? y, Tensor gain, float eps, Tensor(b!) out) -> ()");
  library.def(
      "decode_append(Tensor qkv, Tensor rows, Tensor addresses, Tensor angles, int heads, int kv_heads, int slot) -> ()");
  library.def(
      "decode_attend(Tensor qkv, Tensor rows, Tensor addresses, Tensor angles, int heads, int kv_heads, int slot, "
      "Tensor(a!) parts, Tensor(b!) out) -> ()");
  library.def("decode_swiglu(Tensor gate_up, Tensor(a!) out) -> ()");
  library.def(
      "decode_merge(Tensor(a!) states, Tensor(b!) chances, Tensor(c!) depths, Tensor x, Tensor? y, Tensor rows, "
      "int kind, bool preserving, float scale, Tensor? weights, Tensor? bias, Tensor(d!) going) -> ()");
  library.def("decode_best(Tensor logits, Tensor(a!) best) -> ()");
}

TORCH_LIBRARY_IMPL(taesr, CPU, library) {
  library.impl("decode_gather", &gather);
  library.impl("add_rms_norm_", &add_rms_norm);
  library.impl("decode_append", &append);
  library.impl("decode_attend", &attend);
  library.impl("decode_swiglu", &swiglu);
  library.impl("decode_merge", &merge);
  library.impl("decode_best", &best);
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

void decode_append(const at::Tensor& qkv, const at::Tensor& rows, const KvPages& pages, std::int64_t slot) {
  static const auto op = find_operator<decltype(append)>("taesr::decode_append");
  op.call(qkv, rows, pages.addresses, pages.angles, pages.heads, pages.kv_heads, slot);
}

void decode_attend(const at::Tensor& qkv, const at::Tensor& rows, const KvPages& pages, std::int64_t slot,
                   at::Tensor& parts, at::Tensor& out) {
  static const auto op = find_operator<decltype(attend)>("taesr::decode_attend");
  op.call(qkv, rows, pages.addresses, pages.angles, pages.heads, pages.kv_heads, slot, parts, out);
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

void decode_best(const at::Tensor& logits, at::Tensor& found) {
  static const auto op = find_operator<decltype(best)>("taesr::decode_best");
  op.call(logits, found);
}

}  // namespace taesr
