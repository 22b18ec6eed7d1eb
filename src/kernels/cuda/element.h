#pragma once

namespace taesr::cuda {

// The headers beside this name the launchers of the kernels in the .cu files, by plain pointers, so that device
// code needs no LibTorch header. Matrices are row-major, strides are in elements unless they say bytes.
// Launchers throw std::runtime_error for a launch that fails.

enum class Element { kFloat32, kFloat16, kBFloat16 };

}  // namespace taesr::cuda
