#include "kernels/decode_ops.h"

#include <algorithm>

#include <torch/library.h>

#include <c10/cuda/CUDAGuard.h>

#include "kernels/cuda/decode_kernels.h"
#include "kernels/cuda/tensors.h"

namespace taesr::cuda {
namespace {

using Optional = std::optional<at::Tensor>;

/// float32 or bfloat16, values side by side.
Element element(const char* name, const at::Tensor& x) {
  const Element found = element_of(x);
  if (found == Element::kFloat16) throw InvalidArgument(std::string(name) + " is float16; allowed: float32, bfloat16");
  if (!x.is_contiguous()) throw InvalidArgument(std::string(name) + " is not contiguous");
  return found;
}

/// Memory of a contiguous tensor of this type and size; null for none.
template <class T>
T* memory(const char* name, const at::Tensor& x, const at::Tensor& beside, std::int64_t values) {
  require(name, x, beside.device(), c10::CppTypeToScalarType<T>::value);
  if (!x.is_contiguous() || x.numel() < values) throw InvalidArgument(std::string(name) + " is too small");
  return static_cast<T*>(x.data_ptr());
}

const DecodeRow* rows_of(const at::Tensor& rows, const at::Tensor& beside) {
  return reinterpret_cast<const DecodeRow*>(memory<std::int32_t>("rows", rows, beside, beside.size(0) * kDecodeFields));
}

/// What is added to x; null for nothing.
const void* addend(const Optional& y, const at::Tensor& x, Element& kind) {
  if (!y) return nullptr;
  kind = element("y", *y);
  if (y->numel() < x.numel()) throw InvalidArgument("y is smaller than x");
  return y->const_data_ptr();
}

void gather(const at::Tensor& table, const at::Tensor& rows, bool by_state, at::Tensor& out) {
  const c10::cuda::CUDAGuard guard(out.device());
  decode_gather({table.const_data_ptr(), rows_of(rows, out), memory<float>("out", out, out, out.numel()), out.size(0),
                 static_cast<int>(out.size(1)), by_state},
                element("table", table), stream_of(out));
}

void add_rms_norm_op(at::Tensor& x, const Optional& y, const at::Tensor& gain, double eps, at::Tensor& out) {
  const c10::cuda::CUDAGuard guard(x.device());
  const Element kind = element("out", out);
  Element added = kind;
  const void* const values = addend(y, x, added);
  if (added != kind || out.numel() < x.numel()) throw InvalidArgument("y and out are of one dtype, and as large as x");
  add_rms_norm({memory<float>("x", x, x, x.numel()), values, memory<float>("gain", gain, x, x.size(1)),
                out.data_ptr(), x.size(0), static_cast<int>(x.size(1)), static_cast<float>(eps)},
               kind, stream_of(x));
}

PagedKeys keys_of(const at::Tensor& qkv, const at::Tensor& rows, const at::Tensor& addresses, const at::Tensor& angles,
                  std::int64_t heads, std::int64_t kv_heads, std::int64_t slot) {
  const std::int64_t size = angles.size(1);
  if (qkv.size(1) != (heads + 2 * kv_heads) * size) throw InvalidArgument("qkv has another width than its heads");
  return {qkv.const_data_ptr(),
          rows_of(rows, qkv),
          memory<std::int64_t>("addresses", addresses, qkv, 0),
          memory<float>("angles", angles, qkv, 0),
          qkv.size(0),
          static_cast<int>(heads),
          static_cast<int>(kv_heads),
          static_cast<int>(size),
          static_cast<int>(slot)};
}

void append(const at::Tensor& qkv, const at::Tensor& rows, const at::Tensor& addresses, const at::Tensor& angles,
            std::int64_t heads, std::int64_t kv_heads, std::int64_t slot) {
  const c10::cuda::CUDAGuard guard(qkv.device());
  decode_append(keys_of(qkv, rows, addresses, angles, heads, kv_heads, slot), element("qkv", qkv), stream_of(qkv));
}

void attend(const at::Tensor& qkv, const at::Tensor& rows, const at::Tensor& addresses, const at::Tensor& angles,
            std::int64_t heads, std::int64_t kv_heads, std::int64_t slot, at::Tensor& parts, at::Tensor& out) {
  const c10::cuda::CUDAGuard guard(qkv.device());
  const Element kind = element("qkv", qkv);
  if (element("out", out) != kind || out.numel() < qkv.size(0) * heads * angles.size(1)) {
    throw InvalidArgument("out must have qkv's dtype and the queries' size");
  }
  const std::int64_t splits = parts.size(2);
  const std::int64_t size_of_parts = qkv.size(0) * heads * splits * (angles.size(1) + 2);
  float* const memory_of_parts = memory<float>("parts", parts, qkv, splits > 1 ? size_of_parts : 0);
  decode_attend({keys_of(qkv, rows, addresses, angles, heads, kv_heads, slot), memory_of_parts, out.data_ptr(),
                 static_cast<int>(splits)},
                kind, stream_of(qkv));
}

void swiglu(const at::Tensor& gate_up, at::Tensor& out) {
  const c10::cuda::CUDAGuard guard(out.device());
  const Element kind = element("out", out);
  if (element("gate_up", gate_up) != kind || gate_up.numel() < 2 * out.numel()) {
    throw InvalidArgument("gate_up must have out's dtype and twice its size");
  }
  decode_swiglu({gate_up.const_data_ptr(), out.data_ptr(), out.size(0), static_cast<int>(out.size(1))}, kind,
                stream_of(out));
}

void merge(at::Tensor& states, at::Tensor& chances, at::Tensor& depths, const at::Tensor& x, const Optional& y,
           const at::Tensor& rows, std::int64_t kind, bool preserving, double scale, const Optional& weights,
           const Optional& bias, at::Tensor& going) {
  const c10::cuda::CUDAGuard guard(x.device());
  if (states.size(1) != x.size(1)) throw InvalidArgument("states and x are of different widths");
  Element added = Element::kFloat32;
  const void* const values = addend(y, x, added);
  const auto pointer = [&](const char* name, const Optional& tensor) -> const float* {
    return tensor ? memory<float>(name, *tensor, x, 0) : nullptr;
  };
  decode_merge({memory<float>("states", states, x, 0), memory<float>("chances", chances, x, states.size(0)),
                memory<std::int32_t>("depths", depths, x, states.size(0)), memory<float>("x", x, x, x.numel()), values,
                rows_of(rows, x), pointer("weights", weights), pointer("bias", bias),
                memory<std::int32_t>("going", going, x, x.size(0)), x.size(0), static_cast<int>(x.size(1)),
                weights ? static_cast<int>(weights->size(0)) : 1, static_cast<int>(kind), preserving,
                static_cast<float>(scale)},
               added, stream_of(x));
}

void top(const at::Tensor& logits, at::Tensor& scores, at::Tensor& tokens) {
  const c10::cuda::CUDAGuard guard(logits.device());
  const std::int64_t count = tokens.size(1);
  if (count < 1 || count > std::min<std::int64_t>(kMostTop, logits.size(1))) {
    throw InvalidArgument(std::to_string(count) + " largest values are wanted; allowed: 1 to " +
                          std::to_string(kMostTop) + ", and to the size of a row");
  }
  decode_top({memory<float>("logits", logits, logits, logits.numel()),
              memory<float>("scores", scores, logits, logits.size(0) * count),
              memory<std::int32_t>("tokens", tokens, logits, logits.size(0) * count), logits.size(0), logits.size(1),
              static_cast<int>(count)},
             stream_of(logits));
}

}  // namespace

TORCH_LIBRARY_IMPL(taesr, CUDA, library) {
  library.impl("decode_gather", &gather);
  library.impl("add_rms_norm_", &add_rms_norm_op);
  library.impl("decode_append", &append);
  library.impl("decode_attend", &attend);
  library.impl("decode_swiglu", &swiglu);
  library.impl("decode_merge", &merge);
  library.impl("decode_top", &top);
}

}  // namespace taesr::cuda
