#include "engine/inference/inference_model.h"

namespace taesr {

// For processors that the kernels are not written for.
std::unique_ptr<const InferenceModel> InferenceModel::create(const TAESRConfig&, const EncoderWeights&) { return nullptr; }

}  // namespace taesr
