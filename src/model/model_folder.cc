#include "model/model_folder.h"

#include <cinttypes>
#include <cstdio>
#include <cstring>

#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/isfinite.h>

#include "checkpoint/safetensors.h"
#include "core/checksum.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

constexpr const char* kTokenTable = "embeddings.token.weight";
constexpr const char* kTokenScale = "embeddings.token.scale";

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

/// Replaces a token table of int8 by floats, each row times its scale. Integers elsewhere are refused.
void dequantise(WeightMap& weights, const std::string& origin) {
  const auto scale = weights.extract(kTokenScale);
  const auto table = weights.find(kTokenTable);
  if (table != weights.end() && table->second.scalar_type() == at::kChar) {
    if (scale.empty()) throw FormatError(origin + ": '" + kTokenTable + "' is int8 without '" + kTokenScale + "'");
    const at::Tensor& scales = scale.mapped();
    const bool fits = scales.scalar_type() == at::kFloat && scales.dim() == 1 && table->second.dim() == 2 &&
                      scales.size(0) == table->second.size(0);
    if (!fits) throw FormatError(origin + ": '" + kTokenScale + "' must be F32, one value a row of '" + kTokenTable + "'");
    if (!scales.isfinite().all().item<bool>()) throw FormatError(origin + ": '" + kTokenScale + "' is not finite");
    table->second = table->second.to(at::kFloat) * scales.unsqueeze(1);
  } else if (!scale.empty()) {
    throw FormatError(origin + ": '" + kTokenScale + "' belongs to a token table of int8, which this file lacks");
  }
  for (const auto& [name, tensor] : weights) {
    if (!tensor.is_floating_point()) throw FormatError(origin + ": weight '" + name.substr(0, 100) + "' must be F32, F16 or BF16");
  }
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
  dequantise(weights, "'" + path.string() + "'");
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
