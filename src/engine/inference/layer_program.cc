#include "engine/inference/layer_program.h"

namespace taesr {

PackedNorm::PackedNorm(const Affine& affine, double norm_eps)
    : gain(affine.weight.to(at::kFloat).contiguous()),
      shift(affine.bias.to(at::kFloat).contiguous()),
      eps(static_cast<float>(norm_eps)) {}

avx512::Norm PackedNorm::view() const { return {gain.const_data_ptr<float>(), shift.const_data_ptr<float>(), eps}; }

template <class Linear>
PackedLayer<Linear>::PackedLayer(const LayerWeights& weights)
    : qkv(weights.qkv.weight, weights.qkv.bias),
      out(weights.out.weight, weights.out.bias),
      up(weights.up.weight, weights.up.bias),
      down(weights.down.weight, weights.down.bias) {}

template <class Linear>
PackedLayers<Linear>::PackedLayers(const TAESRConfig& config, const EncoderWeights& weights)
    : own_entry_(pack(weights.entry, config.layer_norm_eps)),
      own_refinement_(pack(weights.refinement, config.layer_norm_eps)),
      own_exit_(pack(weights.exit, config.layer_norm_eps)),
      reinject_(weights.reinject.to(at::kFloat).contiguous()) {
  for (const LayerWeights& layer : weights.shared) shared_.emplace_back(layer);
  for (const auto& by_recursion : weights.shared_norms) {
    auto& norms = shared_norms_.emplace_back();
    for (const LayerNorms& norm : by_recursion) {
      norms.emplace_back(PackedNorm(norm.attention, config.layer_norm_eps), PackedNorm(norm.mlp, config.layer_norm_eps));
    }
  }
  append(entry_, own_entry_);
  const bool in_sequence = config.sharing == Sharing::kSequence || config.sharing == Sharing::kMiddleSequence;
  for (int recursions = 1; recursions <= config.max_recursions(); ++recursions) {
    auto& program = from_entry_.emplace_back();
    if (in_sequence) {
      for (std::size_t k = 0; k < shared_.size(); ++k) {
        for (int r = 0; r < recursions; ++r) program.push_back(shared_step(k, r, true));
      }
    } else {
      for (int r = 0; r < recursions; ++r) {
        for (std::size_t k = 0; k < shared_.size(); ++k) program.push_back(shared_step(k, r, k == 0));
      }
    }
    if (recursions > 1) append(program, own_refinement_);
    append(program, own_exit_);
  }
}

template <class Linear>
auto PackedLayers<Linear>::pack(const std::vector<Layer>& layers, double eps) const -> std::vector<Own> {
  std::vector<Own> packed;
  packed.reserve(layers.size());
  for (const Layer& layer : layers) {
    packed.push_back({PackedLayer<Linear>(layer.weights), {layer.norms.attention, eps}, {layer.norms.mlp, eps}});
  }
  return packed;
}

template <class Linear>
LayerStep<Linear> PackedLayers<Linear>::shared_step(std::size_t k, int r, bool reinjects) const {
  const auto& [attention, mlp] = shared_norms_[k][static_cast<std::size_t>(r)];
  const float* scale = r > 0 && reinjects ? reinject_.const_data_ptr<float>() + r * reinject_.size(1) : nullptr;
  return {&shared_[k], attention.view(), mlp.view(), scale};
}

template <class Linear>
void PackedLayers<Linear>::append(std::vector<LayerStep<Linear>>& program, const std::vector<Own>& layers) {
  for (const Own& own : layers) program.push_back({&own.layer, own.attention.view(), own.mlp.view(), nullptr});
}

template struct PackedLayer<int8::PackedLinear>;
template class PackedLayers<int8::PackedLinear>;
#if defined(__x86_64__)
template struct PackedLayer<avx512::PackedLinear<float>>;
template struct PackedLayer<avx512::PackedLinear<c10::BFloat16>>;
template class PackedLayers<avx512::PackedLinear<float>>;
template class PackedLayers<avx512::PackedLinear<c10::BFloat16>>;
#endif

}  // namespace taesr
