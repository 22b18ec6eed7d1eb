#include "engine/inference/inference_model.h"

#include <string>

#include "engine/inference/general_int8.h"
#include "taesr/errors.h"

#if defined(__x86_64__)
#include "engine/inference/avx512_model.h"
#endif

namespace taesr {

std::unique_ptr<const InferenceModel> InferenceModel::create([[maybe_unused]] const TAESRConfig& config,
                                                             [[maybe_unused]] const EncoderWeights& weights) {
#if defined(__x86_64__)
  if (!weights.token_router) return create_avx512(config, weights);
#endif
  return nullptr;
}

std::unique_ptr<const InferenceModel> InferenceModel::create_int8(const TAESRConfig& config, const EncoderWeights& weights) {
  if (weights.token_router) {
    throw InvalidArgument("precision is 'int8', which the model's routing of single tokens (config field 'token_routing') "
                          "is not computed in; allowed: auto, float32, bfloat16");
  }
#if defined(__x86_64__)
  if (auto model = create_avx512_int8(config, weights)) return model;
#endif
  return create_general_int8(config, weights);
}

void InferenceModel::check_request(const TAESRConfig& config, const at::Tensor& entry,
                                   std::span<const std::int64_t> offsets, int recursions) {
  if (recursions < 1 || recursions > config.max_recursions()) {
    throw InvalidArgument("depth is " + std::to_string(recursions) + "; allowed: 1 to " +
                          std::to_string(config.max_recursions()));
  }
  if (offsets.size() < 2 || entry.dim() != 2 || entry.size(0) != offsets.back() || entry.size(1) != config.hidden_size) {
    throw InvalidArgument("the entry states are those of another batch");
  }
}

}  // namespace taesr
