#pragma once

#include <cstdint>
#include <optional>

#include <ATen/core/Tensor.h>

#include "kernels/decode_row.h"
#include "taesr/export.h"

namespace taesr {

// What a decoder computes between its matrix products, for rows of many sequences. `rows` are DecodeRows, int32
// [rows, 8]; rows that are padding give zeros or nothing. The states that layers add to are float32, what products
// read and make is float32 or bfloat16 (T). Results go to memory that the caller has, so that a pass can be recorded.
// Matrices are contiguous. No derivatives.

/// Keys and values of a pass. A page is [slots][kv_heads] of keys [kDecodePage][head_dim], then values
/// [head_dim][kDecodePage] of T: tensor cores take both as they lie there.
struct KvPages {
  at::Tensor addresses;  // int64, of pages on the device, list after list
  at::Tensor angles;     // float32 [positions, head_dim]: cosines of the rotary angles, then sines
  std::int64_t heads = 0;
  std::int64_t kv_heads = 0;
};

/// out[i] = table[id of row i], or where `by_state`, table[state of row i]. table [., width] T, out [rows, width]
/// float32.
TAESR_API void decode_gather(const at::Tensor& table, const at::Tensor& rows, bool by_state, at::Tensor& out);

/// x += y, then out = x / rms(x) * gain (Zhang and Sennrich 2019, arXiv 1910.07467). x float32, y and out T, all
/// [rows, width]; gain float32 [width].
TAESR_API void add_rms_norm_(at::Tensor& x, const std::optional<at::Tensor>& y, const at::Tensor& gain, double eps,
                             at::Tensor& out);

/// Keys, turned by their positions (Su et al. 2021, arXiv 2104.09864), and values to their pages. qkv
/// [rows, (heads + 2 kv_heads) * head_dim] T.
TAESR_API void decode_append(const at::Tensor& qkv, const at::Tensor& rows, const KvPages& pages, std::int64_t slot);

/// out [rows, heads * head_dim] T: attention of each row's queries, which are turned here, to what it sees.
/// `parts` is float32 [rows, heads, splits, head_dim + 2]: into so many parts long texts are split, which blocks of
/// their own work on.
TAESR_API void decode_attend(const at::Tensor& qkv, const at::Tensor& rows, const KvPages& pages, std::int64_t slot,
                             at::Tensor& parts, at::Tensor& out);

/// out = gate * sigmoid(gate) * up (Shazeer 2020, arXiv 2002.05202); gate_up [rows, 2 width], out [rows, width] T.
TAESR_API void decode_swiglu(const at::Tensor& gate_up, at::Tensor& out);

/// Which tokens go on, and what a recursion's result does to their states: Router, on the device.
struct DecodeRouter {
  enum Kind : std::int64_t { kNone, kExpertChoice, kTokenChoice };
  Kind kind = kNone;
  bool preserving = false;  // Gate::kPreserving
  double scale = 0;         // gate_scale
  at::Tensor weights;       // float32 [recursions, width]
  at::Tensor bias;          // float32 [recursions], of token choice
};

/// What is kept of tokens between passes, by their states' rows.
struct DecodeStates {
  at::Tensor values;   // float32 [., width]
  at::Tensor chances;  // float32 [.]: the last choice's probability
  at::Tensor depths;   // int32 [.]: of token choice, the last recursion
};

/// Puts x + y, made by each row's recursion, into its states, and lets the router see them: going[i], int32, is 1 or
/// 0 for expert choice, the token's last recursion for token choice.
TAESR_API void decode_merge(DecodeStates& states, const at::Tensor& x, const std::optional<at::Tensor>& y,
                            const at::Tensor& rows, const DecodeRouter& router, at::Tensor& going);

/// Each row's largest values, largest first, of equal ones the first; up to kMostTop. logits float32
/// [rows, vocabulary], scores float32 and tokens int32 [rows, count]. A row's first token is -1 where a value is not
/// finite, and kTopCrowded where the largest lie so that the kernel finds too many to choose from.
TAESR_API void decode_top(const at::Tensor& logits, at::Tensor& scores, at::Tensor& tokens);

}  // namespace taesr
