#include <cstdlib>
#include <string_view>

#include <dlfcn.h>

#include "taesr/encoder.h"
#include "taesr/errors.h"

namespace taesr {

Precision parse_precision(const std::string& name) {
  for (const Precision precision : {Precision::kAuto, Precision::kFloat32, Precision::kBFloat16, Precision::kInt8}) {
    if (name == name_of(precision)) return precision;
  }
  throw InvalidArgument("precision is '" + name.substr(0, 60) + "'; allowed: auto, float32, bfloat16, int8");
}

const char* name_of(Precision precision) {
  switch (precision) {
    case Precision::kFloat32: return "float32";
    case Precision::kBFloat16: return "bfloat16";
    case Precision::kInt8: return "int8";
    case Precision::kAuto: break;
  }
  return "auto";
}

Overflow parse_overflow(const std::string& name) {
  if (name == "chunk") return Overflow::kChunk;
  if (name == "truncate") return Overflow::kTruncate;
  if (name == "error") return Overflow::kError;
  throw InvalidArgument("on_overflow is '" + name.substr(0, 60) + "'; allowed: chunk, truncate, error");
}

Outputs parse_outputs(std::span<const std::string> names) {
  constexpr std::string_view kSubspace = "subspace:";
  constexpr const char* kAllowed = "'; allowed: dense, sparse, late, subspace:NAME";
  Outputs outputs{.dense = false};
  for (const std::string& name : names) {
    if (name.starts_with(kSubspace)) {
      outputs.subspaces.push_back(name.substr(kSubspace.size()));
      continue;
    }
    bool* output = name == "dense" ? &outputs.dense : name == "sparse" ? &outputs.sparse : name == "late" ? &outputs.late : nullptr;
    if (output == nullptr) {
      throw InvalidArgument("outputs has '" + name.substr(0, 60) + kAllowed);
    }
    *output = true;
  }
  if (names.empty()) throw InvalidArgument(std::string("outputs is empty") + (kAllowed + 1));
  return outputs;
}

std::filesystem::path default_model_path() {
  if (const char* chosen = std::getenv("TAESR_MODEL"); chosen != nullptr && *chosen != '\0') return chosen;
  // The models lie beside the library, wherever it was installed to.
  Dl_info info{};
  if (::dladdr(reinterpret_cast<const void*>(&default_model_path), &info) == 0 || info.dli_fname == nullptr) {
    throw IoError("cannot tell where the library lies; pass a model folder or set TAESR_MODEL");
  }
  const auto library = std::filesystem::weakly_canonical(info.dli_fname);
  return (library.parent_path() / TAESR_MODELS_FROM_LIBRARY / "default").lexically_normal();
}

}  // namespace taesr
