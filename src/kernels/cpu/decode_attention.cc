#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <torch/library.h>

#include "kernels/cpu/decode_rows.h"
#include "kernels/decode_ops.h"
#include "kernels/dispatch.h"

namespace taesr {
namespace {

using namespace decode;

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

/// Where one head's keys [kDecodePage, head_dim] of a list's page begin; its values [head_dim, kDecodePage] follow.
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
        T* const page = page_of<T>(pages, all[i], all[i].entry / kDecodePage, slot, head, size);
        const std::int64_t entry = all[i].entry % kDecodePage;
        for (std::int64_t k = 0; k < size; ++k) {
          page[entry * size + k] = static_cast<T>(turned(key, k, size, turn));
          page[(size + k) * kDecodePage + entry] = value[k];
        }
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
  const auto page_with = [&](std::int64_t i) {
    return page_of<const T>(pages, row, i / kDecodePage, slot, kv_head, size);
  };
  std::vector<float> turned_query(static_cast<std::size_t>(size));
  for (std::int64_t k = 0; k < size; ++k) turned_query[static_cast<std::size_t>(k)] = turned(query, k, size, turn);
  std::vector<float> weights(static_cast<std::size_t>(row.visible));
  float largest = -std::numeric_limits<float>::infinity();
  for (std::int64_t i = 0; i < row.visible; ++i) {
    float score = 0;
    const T* const key = page_with(i) + i % kDecodePage * size;
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
      const T* const values = page_with(i) + (size + k) * kDecodePage;
      sum += weights[static_cast<std::size_t>(i)] * static_cast<float>(values[i % kDecodePage]);
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

}  // namespace

TORCH_LIBRARY_FRAGMENT(taesr, library) {
  library.def(
      "decode_append(Tensor qkv, Tensor rows, Tensor addresses, Tensor angles, int heads, int kv_heads, int slot) "
      "-> ()");
  library.def(
      "decode_attend(Tensor qkv, Tensor rows, Tensor addresses, Tensor angles, int heads, int kv_heads, int slot, "
      "Tensor(a!) parts, Tensor(b!) out) -> ()");
}

TORCH_LIBRARY_IMPL(taesr, CPU, library) {
  library.impl("decode_append", &append);
  library.impl("decode_attend", &attend);
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

}  // namespace taesr
