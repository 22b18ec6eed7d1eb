#include "kernels/cuda/device.cuh"
#include "kernels/cuda/token_kernels.h"

namespace taesr::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;

/// Places of the flagged threads among those of the block: how many stand before this one, and all.
struct Ranked {
  int before;
  int total;
};

/// All threads of the block call it; `shared` has a place for each warp and may be used again afterwards.
__device__ Ranked rank_flags(bool flag, int* shared) {
  const int lane = threadIdx.x % kWarp;
  const int warp = threadIdx.x / kWarp;
  const unsigned votes = __ballot_sync(kAllLanes, flag);
  if (lane == 0) shared[warp] = __popc(votes);
  __syncthreads();
  Ranked ranked = {__popc(votes & ((1u << lane) - 1)), 0};
  for (int w = 0; w < kWarps; ++w) {
    if (w < warp) ranked.before += shared[w];
    ranked.total += shared[w];
  }
  __syncthreads();
  return ranked;
}

/// Flags in each block of tokens.
__global__ void count_active_kernel(ActiveRows call) {
  __shared__ int shared[kWarps];
  const std::int64_t token = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const Ranked ranked = rank_flags(token < call.tokens && call.mask[token], shared);
  if (threadIdx.x == 0) call.block_counts[blockIdx.x] = ranked.total;
}

/// Counts of blocks to sums of those before them; one block, which ends with the sum of all in `before`.
__global__ void sum_counts_kernel(ActiveRows call, std::int64_t blocks) {
  __shared__ int sums[kThreads];
  __shared__ int carried;
  if (threadIdx.x == 0) carried = 0;
  __syncthreads();
  for (std::int64_t base = 0; base < blocks; base += kThreads) {
    const std::int64_t block = base + threadIdx.x;
    const int own = block < blocks ? call.block_counts[block] : 0;
    sums[threadIdx.x] = own;
    __syncthreads();
    for (int step = 1; step < kThreads; step *= 2) {
      const int left = static_cast<int>(threadIdx.x) >= step ? sums[threadIdx.x - step] : 0;
      __syncthreads();
      sums[threadIdx.x] += left;
      __syncthreads();
    }
    if (block < blocks) call.block_counts[block] = carried + sums[threadIdx.x] - own;
    __syncthreads();
    if (threadIdx.x == 0) carried += sums[kThreads - 1];
    __syncthreads();
  }
  if (threadIdx.x == 0) call.before[call.tokens] = carried;
}

__global__ void write_active_kernel(ActiveRows call) {
  __shared__ int shared[kWarps];
  const std::int64_t token = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const bool active = token < call.tokens && call.mask[token];
  const int before = rank_flags(active, shared).before + call.block_counts[blockIdx.x];
  if (token >= call.tokens) return;
  call.before[token] = before;
  if (active) call.rows[before] = token;
}

/// Borders of the sequences among the active tokens, and -1 behind the last row.
__global__ void finish_active_kernel(ActiveRows call) {
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kThreads;
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  for (std::int64_t i = first; i <= call.sequences; i += step) call.active_offsets[i] = call.before[call.offsets[i]];
  for (std::int64_t i = call.before[call.tokens] + first; i < call.tokens; i += step) call.rows[i] = -1;
}

/// Unsigned keys in the order of the scores; 1 for NaN, 0 for tokens that have stopped.
__device__ unsigned key_of(const BestRows& call, std::int64_t token) {
  if (call.going != nullptr && !call.going[token]) return 0;
  const float score = call.scores[token];
  if (score != score) return 1;
  const unsigned bits = __float_as_uint(score == 0 ? 0.0f : score);  // -0 equals 0
  return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

/// What a block has found of the border between kept and left keys: the digits from the top so far, and how
/// many of the keys that begin with them are kept.
struct Border {
  unsigned prefix;
  int kept;
};

/// The next eight bits, from a histogram of them. One warp; lane 0 has the largest digits.
__device__ void next_digit(const int* histogram, int shift, Border* border) {
  constexpr int kBins = 256 / kWarp;
  const int lane = threadIdx.x;
  const int top = 255 - lane * kBins;
  int sum = 0;
  for (int i = 0; i < kBins; ++i) sum += histogram[top - i];
  int through = sum;
  for (int step = 1; step < kWarp; step *= 2) {
    const int left = __shfl_up_sync(kAllLanes, through, step);
    if (lane >= step) through += left;
  }
  const int kept = border->kept;
  const unsigned prefix = border->prefix;
  __syncwarp();
  int above = through - sum;
  if (above >= kept || through < kept) return;
  for (int i = 0; i < kBins; ++i) {
    const int count = histogram[top - i];
    if (above + count >= kept) {
      *border = {prefix | static_cast<unsigned>(top - i) << shift, kept - above};
      return;
    }
    above += count;
  }
}

/// A block a sequence: radix selection, then the chosen ones in order.
__global__ void best_rows_kernel(BestRows call) {
  __shared__ int histogram[256];
  __shared__ int shared[kWarps];
  __shared__ Border border;
  const std::int64_t begin = call.offsets[blockIdx.x];
  const std::int64_t end = call.offsets[blockIdx.x + 1];
  const std::int64_t target = call.kept_offsets[blockIdx.x];
  const std::int64_t kept = call.kept_offsets[blockIdx.x + 1] - target;
  if (kept <= 0) return;
  if (threadIdx.x == 0) border = {0, static_cast<int>(kept)};
  for (int shift = 24; shift >= 0; shift -= 8) {
    for (int i = threadIdx.x; i < 256; i += kThreads) histogram[i] = 0;
    __syncthreads();
    const unsigned prefix = border.prefix;
    const unsigned settled = shift == 24 ? 0 : 0xffffffffu << (shift + 8);
    for (std::int64_t token = begin + threadIdx.x; token < end; token += kThreads) {
      const unsigned key = key_of(call, token);
      if ((key & settled) == prefix) atomicAdd(&histogram[key >> shift & 255u], 1);
    }
    __syncthreads();
    if (threadIdx.x < kWarp) next_digit(histogram, shift, &border);
    __syncthreads();
  }
  // All keys above the border, and the first of those equal to it.
  const unsigned least = border.prefix;
  const int equal_kept = border.kept;
  std::int64_t written = target;
  int equal_seen = 0;
  for (std::int64_t base = begin; base < end; base += kThreads) {
    const std::int64_t token = base + threadIdx.x;
    const unsigned key = token < end ? key_of(call, token) : 0;
    const Ranked equal = rank_flags(token < end && key == least, shared);
    const bool chosen = token < end && (key > least || (key == least && equal_seen + equal.before < equal_kept));
    const Ranked place = rank_flags(chosen, shared);
    if (chosen) call.rows[written + place.before] = token;
    written += place.total;
    equal_seen += equal.total;
  }
}

}  // namespace

std::int64_t active_row_blocks(std::int64_t tokens) { return blocks_for(tokens, kThreads); }

void active_rows(const ActiveRows& call, cudaStream_t stream) {
  const auto blocks = static_cast<unsigned>(active_row_blocks(call.tokens));
  if (blocks > 0) launch("active_rows", count_active_kernel, blocks, kThreads, stream, call);
  launch("active_rows", sum_counts_kernel, 1, kThreads, stream, call, static_cast<std::int64_t>(blocks));
  if (blocks > 0) launch("active_rows", write_active_kernel, blocks, kThreads, stream, call);
  const std::int64_t longest = call.tokens > call.sequences + 1 ? call.tokens : call.sequences + 1;
  launch("active_rows", finish_active_kernel, blocks_for(longest, kThreads), kThreads, stream, call);
}

void best_rows(const BestRows& call, cudaStream_t stream) {
  if (call.sequences == 0) return;
  launch("best_rows", best_rows_kernel, static_cast<unsigned>(call.sequences), kThreads, stream, call);
}

}  // namespace taesr::cuda
