#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cpu/avx512/element.h"

namespace taesr::avx512 {

/// Bytes of scratch that `attend` needs for a sequence of `tokens`.
template <class E>
[[nodiscard]] std::size_t attention_scratch(std::int64_t tokens, std::int64_t head_size);

/// Attention of one head over one sequence: softmax(q k^T / sqrt(head size)) v, with the softmax in float32.
/// q, k, v, y [tokens, head_size]; y may be q. `head_size` is a multiple of kPanel. Of the scores only a
/// few rows exist at a time.
template <class E>
TAESR_AVX512 void attend(Rows<const E> q, Rows<const E> k, Rows<const E> v, Rows<E> y, std::int64_t tokens,
                         std::int64_t head_size, void* scratch);

}  // namespace taesr::avx512
