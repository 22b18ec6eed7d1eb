#pragma once

namespace taesr::cuda {

/// 2^x by the special function unit alone; below 2^-126 it is 0.
__device__ inline float fast_exp2(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

}  // namespace taesr::cuda
