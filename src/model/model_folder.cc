#include "model/model_folder.h"

#include <cinttypes>
#include <cstdio>
#include <cstring>

#include <ATen/ops/empty.h>

#include "checkpoint/safetensors.h"
#include "core/checksum.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

at::ScalarType scalar_type(DType dtype) {
  switch (dtype) {
    case DType::kFloat32: return at::kFloat;
    case DType::kFloat16: return at::kHalf;
    case DType::kBFloat16: return at::kBFloat16;
    case DType::kInt8: return at::kChar;
    case DType::kUInt8: return at::kByte;
    case DType::kInt32: return at::kInt;
    case DType::kInt64: return at::kLong;
  }
  throw Error("unreachable dtype");
}

DType dtype_of(const std::string& name, at::ScalarType type) {
  for (const DType dtype : {DType::kFloat32, DType::kFloat16, DType::kBFloat16, DType::kInt8, DType::kUInt8,
                            DType::kInt32, DType::kInt64}) {
    if (scalar_type(dtype) == type) return dtype;
  }
  throw InvalidArgument("weight '" + name + "' has a dtype that safetensors does not store");
}

}  // namespace

WeightMap load_weights(const std::filesystem::path& path) {
  const SafetensorsFile file(path);
  WeightMap weights;
  for (const auto& [name, view] : file.tensors()) {
    at::Tensor tensor = at::empty(view.shape, at::TensorOptions(scalar_type(view.dtype)));
    if (!view.bytes.empty()) std::memcpy(tensor.data_ptr(), view.bytes.data(), view.bytes.size());
    weights.emplace(name, std::move(tensor));
  }
  return weights;
}

void save_weights(const std::filesystem::path& path, const WeightMap& weights) {
  std::map<std::string, TensorView> views;
  for (const auto& [name, tensor] : weights) {
    if (!tensor.is_contiguous() || !tensor.is_cpu()) {
      throw InvalidArgument("weight '" + name + "' must be contiguous and on the CPU to be saved");
    }
    const auto* data = static_cast<const std::byte*>(tensor.const_data_ptr());
    views[name] = {dtype_of(name, tensor.scalar_type()), tensor.sizes().vec(), {data, tensor.nbytes()}};
  }
  write_safetensors(path, views, {{"format", "pt"}});
}

std::string fingerprint_of(const std::filesystem::path& folder) {
  std::string digest;
  for (const char* name : {kConfigFile, kWeightsFile, kTokenizerFile}) {
    const MappedFile file(folder / name);
    char hex[17];
    const auto* text = reinterpret_cast<const char*>(file.bytes().data());
    std::snprintf(hex, sizeof hex, "%016" PRIx64, xxh64({text, file.bytes().size()}));
    digest += hex;
  }
  return digest;
}

}  // namespace taesr
