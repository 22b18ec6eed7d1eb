#pragma once

#include "kernels/cuda/device.cuh"

namespace taesr::cuda {

// Tensor cores and asynchronous copies, as every GPU from sm_80 on has them. Fragments of m16n8k16 lie in a
// warp as PTX says: with row = lane / 4 and pair = 2 * (lane % 4), a lane holds of
//   A [16, 16]  (row, pair..), (row + 8, pair..), (row, pair + 8..), (row + 8, pair + 8..): two values each
//   B [16, 8]   (pair.., row), (pair + 8.., row): two values each
//   C [16, 8]   (row, pair), (row, pair + 1), (row + 8, pair), (row + 8, pair + 1).

/// c += a * b.
__device__ inline void multiply_add(__nv_bfloat16, float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ inline void multiply_add(__half, float (&c)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};\n"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

/// Two values as one register, the first in the lower half.
__device__ inline unsigned pack_pair(__nv_bfloat16, float first, float second) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(first, second);
  return *reinterpret_cast<const unsigned*>(&pair);
}

__device__ inline unsigned pack_pair(__half, float first, float second) {
  const __half2 pair = __floats2half2_rn(first, second);
  return *reinterpret_cast<const unsigned*>(&pair);
}

__device__ inline unsigned shared_address(const void* pointer) {
  return static_cast<unsigned>(__cvta_generic_to_shared(pointer));
}

/// Four matrices of 8 x 8 half-precision values; lane 8 m + i points to row i of matrix m. A lane gets from
/// each the values (row, pair) and (row, pair + 1).
__device__ inline void load_matrices(unsigned (&parts)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(parts[0]), "=r"(parts[1]), "=r"(parts[2]), "=r"(parts[3])
               : "r"(shared_address(row)));
}

/// The same, transposed: the values (pair, row) and (pair + 1, row).
__device__ inline void load_matrices_transposed(unsigned (&parts)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(parts[0]), "=r"(parts[1]), "=r"(parts[2]), "=r"(parts[3])
               : "r"(shared_address(row)));
}

/// Starts to copy 16 bytes to shared memory; zeros instead where `exists` is false.
__device__ inline void copy_async(void* target, const void* source, bool exists) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(shared_address(target)), "l"(source),
               "r"(exists ? 16 : 0));
}

/// Closes the group of copies that this thread has started since the last call.
__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;\n"); }

/// Waits for this thread's groups but the last `kLeft`.
template <int kLeft>
__device__ inline void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kLeft) : "memory");
}

}  // namespace taesr::cuda
