#include "model/checkpointed.h"

#include <algorithm>

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

namespace taesr {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Carries the function from the forward to the backward pass.
struct Holder : torch::CustomClassHolder {
  explicit Holder(TensorFunction f) : function(std::move(f)) {}
  TensorFunction function;
};

struct Checkpointed : torch::autograd::Function<Checkpointed> {
  static at::Tensor forward(AutogradContext* context, const c10::intrusive_ptr<Holder>& holder,
                            at::TensorList inputs) {  // only as a TensorList does apply() see the tensors
    context->saved_data["function"] = at::IValue::make_capsule(holder);
    context->save_for_backward(inputs.vec());
    return holder->function(inputs.vec());  // apply() has switched gradients off
  }

  static variable_list backward(AutogradContext* context, const variable_list& output_gradients) {
    variable_list inputs;
    variable_list wanted;
    for (const auto& saved : context->get_saved_variables()) {
      inputs.push_back(saved.detach().set_requires_grad(saved.requires_grad()));
      if (saved.requires_grad()) wanted.push_back(inputs.back());
    }
    const auto capsule = context->saved_data["function"].toCapsule();
    variable_list gradients;
    {
      const at::AutoGradMode enable(true);
      const auto output = static_cast<Holder*>(capsule.get())->function(inputs);
      gradients = torch::autograd::grad({output}, wanted, output_gradients, /*retain_graph=*/{},
                                        /*create_graph=*/false, /*allow_unused=*/true);
    }
    variable_list result = {at::Tensor()};  // the holder has none
    auto next = gradients.begin();
    for (const auto& input : inputs) result.push_back(input.requires_grad() ? *next++ : at::Tensor());
    return result;
  }
};

}  // namespace

at::Tensor checkpointed(const TensorFunction& function, const std::vector<at::Tensor>& inputs) {
  const bool differentiated = at::GradMode::is_enabled() &&
                              std::any_of(inputs.begin(), inputs.end(), [](const auto& x) { return x.requires_grad(); });
  if (!differentiated) return function(inputs);
  return Checkpointed::apply(c10::make_intrusive<Holder>(function), at::TensorList(inputs));
}

}  // namespace taesr
