#include "kernels/windowed_attention.h"

#include <torch/csrc/autograd/custom_function.h>

#include <limits>
#include <vector>

#include <ATen/TensorOperators.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/zeros.h>

#include "kernels/to_device.h"

namespace taesr {
namespace {

/// Rows in another order. Going back is a gather too, which costs less than the scatter of index_select's
/// own derivative; filling, which no row comes from, gets and gives no gradient.
struct Regroup : torch::autograd::Function<Regroup> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& rows, const at::Tensor& there,
                            const at::Tensor& back) {
    context->saved_data["back"] = back;
    return rows.index_select(0, there);
  }
  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list grads) {
    return {grads[0].index_select(0, context->saved_data["back"].toTensor()), at::Tensor(), at::Tensor()};
  }
};

template <class T>
at::Tensor on_device(const std::vector<T>& values, at::ScalarType type, at::Device device) {
  const auto view = at::from_blob(const_cast<T*>(values.data()), {static_cast<std::int64_t>(values.size())}, type);
  return to_device(device.is_cuda() ? view : view.clone(), device);
}

}  // namespace

AttentionWindows AttentionWindows::plan(std::span<const std::int64_t> offsets, at::Device device) {
  std::vector<std::int64_t> slots;
  std::vector<std::int64_t> places;
  std::vector<std::int32_t> groups;
  std::int64_t room = 0;  // places left in the last window
  const auto fill = [&] {
    slots.resize(slots.size() + static_cast<std::size_t>(room), 0);
    groups.resize(slots.size(), -1);
    room = 0;
  };
  for (std::size_t i = 1; i < offsets.size(); ++i) {
    const std::int64_t length = offsets[i] - offsets[i - 1];
    if (length > room) {
      fill();
      room = kWidth;
    }
    for (std::int64_t t = offsets[i - 1]; t < offsets[i]; ++t) {
      places.push_back(static_cast<std::int64_t>(slots.size()));
      slots.push_back(t - offsets.front());
      groups.push_back(static_cast<std::int32_t>(i));
    }
    room -= length;
  }
  fill();
  return {on_device(slots, at::kLong, device), on_device(places, at::kLong, device),
          on_device(groups, at::kInt, device).view({-1, kWidth})};
}

at::Tensor AttentionWindows::mask(at::ScalarType dtype) const {
  const auto strangers = groups.unsqueeze(2) != groups.unsqueeze(1);
  return at::zeros(strangers.sizes(), groups.options().dtype(dtype))
      .masked_fill(strangers, -std::numeric_limits<double>::infinity())
      .unsqueeze(1);
}

at::Tensor windowed_attention(const at::Tensor& qkv, const AttentionWindows& windows, const at::Tensor& mask,
                              std::int64_t heads) {
  const std::int64_t hidden = qkv.size(1) / 3;
  const std::int64_t width = AttentionWindows::kWidth;
  // [windows, width, heads, head size] each; one unbind has one cheap derivative.
  const auto parts = Regroup::apply(qkv, windows.slots, windows.places).view({-1, width, 3, heads, hidden / heads}).unbind(2);
  const auto spread = mask.expand({-1, heads, -1, -1});
  const auto attended = at::scaled_dot_product_attention(parts[0].transpose(1, 2), parts[1].transpose(1, 2),
                                                         parts[2].transpose(1, 2), spread);
  return Regroup::apply(attended.transpose(1, 2).reshape({-1, hidden}), windows.places, windows.slots);
}

}  // namespace taesr
