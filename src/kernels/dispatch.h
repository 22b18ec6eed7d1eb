#pragma once

#include <ATen/core/dispatch/Dispatcher.h>

namespace taesr {

// Operators of the namespace `taesr` are known to PyTorch's dispatcher, as torch.ops.taesr.NAME in Python. Each
// has an implementation in kernels/cpu, which every build has and which says what the operator means (through
// ATen, so on every device, where it can be), and one in kernels/cuda (TAESR_CUDA=ON).

/// The operator `name`, "taesr::..."; to be looked up once.
template <class Signature>
[[nodiscard]] c10::TypedOperatorHandle<Signature> find_operator(const char* name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Signature>();
}

}  // namespace taesr
