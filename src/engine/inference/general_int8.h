#pragma once

#include <memory>

#include "engine/inference/inference_model.h"

namespace taesr {

/// InferenceModel::create_int8 for processors and sizes that the kernels for AVX-512 do not serve: products of
/// 8 bits with the instructions that there are, everything else by ATen in float32.
[[nodiscard]] std::unique_ptr<const InferenceModel> create_general_int8(const TAESRConfig& config,
                                                                        const EncoderWeights& weights);

}  // namespace taesr
