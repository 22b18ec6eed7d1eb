#pragma once

#include <cstdint>

#include <cuda_runtime.h>

#include "kernels/cuda/element.h"

namespace taesr::cuda {

/// rows.cu: row from_rows[i] of `from` becomes row to_rows[i] of `to`, for all i below `rows`; without rows,
/// row i. All rows are in range, and no two go to the same place.
struct RowCopy {
  const void* from;
  void* to;
  const std::int64_t* from_rows;  // null: i
  const std::int64_t* to_rows;    // null: i
  std::int64_t rows;
  std::int64_t row_bytes;
  std::int64_t from_stride_bytes;
  std::int64_t to_stride_bytes;
};
void copy_rows(const RowCopy& call, cudaStream_t stream);

/// rows.cu: x[rows[i]] += gate[i] * (moved[i] - x[rows[i]]).
struct GatedScatter {
  void* x;             // [., width]
  const void* moved;   // [count, width]
  const float* gate;   // [count]
  const std::int64_t* rows;
  std::int64_t count;
  int width;
};
void scatter_gated(const GatedScatter& call, Element element, cudaStream_t stream);

/// select.cu: places of the true ones of `mask` in `rows`, ascending, the rest -1; `active_offsets[i]` is how
/// many stand before offsets[i].
struct ActiveRows {
  const bool* mask;             // [tokens]
  const std::int64_t* offsets;  // [sequences + 1]
  std::int64_t* rows;           // [tokens] out
  std::int64_t* active_offsets; // [sequences + 1] out
  std::int32_t* before;         // [tokens + 1] scratch
  std::int32_t* block_counts;   // [active_row_blocks(tokens)] scratch
  std::int64_t tokens;
  std::int64_t sequences;
};
[[nodiscard]] std::int64_t active_row_blocks(std::int64_t tokens);
void active_rows(const ActiveRows& call, cudaStream_t stream);

/// select.cu: in each sequence i the kept_offsets[i + 1] - kept_offsets[i] tokens of the highest scores,
/// ascending; of equal ones the earlier. Those that are not `going` come last.
struct BestRows {
  const float* scores;                // [tokens]
  const bool* going;                  // [tokens], null: all
  const std::int64_t* offsets;        // [sequences + 1]
  const std::int64_t* kept_offsets;   // [sequences + 1]
  std::int64_t* rows;                 // [kept] out
  std::int64_t sequences;
};
void best_rows(const BestRows& call, cudaStream_t stream);

}  // namespace taesr::cuda
