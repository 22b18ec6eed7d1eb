#pragma once

#include <memory>

#include "engine/inference/inference_model.h"

namespace taesr {

// InferenceModel with the kernels for AVX-512; null where they do not serve the processor or the sizes.

/// Products in the dtype of the weights' matrices, float32 or bfloat16.
[[nodiscard]] std::unique_ptr<const InferenceModel> create_avx512(const TAESRConfig& config, const EncoderWeights& weights);

/// Products of 8 bits.
[[nodiscard]] std::unique_ptr<const InferenceModel> create_avx512_int8(const TAESRConfig& config,
                                                                       const EncoderWeights& weights);

}  // namespace taesr
