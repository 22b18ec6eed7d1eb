#include "engine/window_depths.h"

#include <algorithm>

#include <ATen/TensorOperators.h>
#include <ATen/ops/softmax.h>

#include "model/router.h"

namespace taesr {

WindowDepths::WindowDepths(std::size_t windows, const TAESRConfig& config, const RouterWeights& router)
    : config_(&config), router_(&router), depths_(windows, 0), probabilities_(windows, 3) {}

WindowDepths::WindowDepths(std::span<const Window> windows, std::span<const int> by_text) {
  depths_.reserve(windows.size());
  for (const Window& window : windows) depths_.push_back(by_text[window.text]);
}

void WindowDepths::decide(std::span<const std::size_t> chosen, const at::Tensor& entry, const PackedLayout& layout) {
  if (std::all_of(chosen.begin(), chosen.end(), [&](std::size_t window) { return decided(window); })) return;
  decide(chosen, at::softmax(router_logits(router_features(entry, layout), *router_), 1).contiguous());
}

void WindowDepths::decide(std::span<const std::size_t> chosen, const at::Tensor& probabilities) {
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    if (decided(chosen[i])) continue;
    const auto row = probabilities_.row(chosen[i]);
    std::copy_n(probabilities.const_data_ptr<float>() + i * row.size(), row.size(), row.begin());
    depths_[chosen[i]] = recursions_of_class(*config_, router_class(row, config_->router_confidence));
  }
}

void WindowDepths::join(std::span<const Window> windows) {
  // Windows of one text stand next to each other.
  for (std::size_t begin = 0, end = 0; begin < windows.size(); begin = end) {
    while (end < windows.size() && windows[end].text == windows[begin].text) ++end;
    const auto first = depths_.begin() + static_cast<std::ptrdiff_t>(begin);
    const auto last = depths_.begin() + static_cast<std::ptrdiff_t>(end);
    const auto deepest = static_cast<std::size_t>(std::max_element(first, last) - depths_.begin());
    for (std::size_t i = begin; i < end; ++i) {
      depths_[i] = depths_[deepest];
      std::copy_n(probabilities_.row(deepest).begin(), probabilities_.columns, probabilities_.row(i).begin());
    }
  }
}

void WindowDepths::lower(std::span<const std::size_t> chosen, int limit) {
  for (const std::size_t window : chosen) depths_[window] = std::min(depths_[window], limit);
}

std::vector<int> WindowDepths::of(std::span<const std::size_t> chosen) const {
  std::vector<int> depths;
  depths.reserve(chosen.size());
  for (const std::size_t window : chosen) depths.push_back(depths_[window]);
  return depths;
}

void WindowDepths::report(std::span<const Window> windows, EncodeResult& result) const {
  result.depths.assign(result.windows.size(), 0);
  if (router_ != nullptr) result.router_probabilities = Matrix(result.windows.size(), probabilities_.columns);
  for (std::size_t i = 0; i < windows.size(); ++i) {
    int& depth = result.depths[windows[i].text];
    depth = depth == 0 ? depths_[i] : std::min(depth, depths_[i]);
    if (router_ == nullptr) continue;
    std::copy_n(probabilities_.row(i).begin(), probabilities_.columns,
                result.router_probabilities.row(windows[i].text).begin());
  }
}

}  // namespace taesr
