#include <charconv>
#include <string_view>

#ifdef TAESR_CUDA
#include <c10/cuda/CUDAFunctions.h>
#include <cuda_runtime_api.h>
#endif

#include "engine/cuda/device_encoder.h"
#include "model/model_folder.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

[[noreturn]] void throw_unknown(const std::string& name) {
  throw InvalidArgument("device is '" + name.substr(0, 60) + "'; allowed: cpu, cuda, cuda:N");
}

/// Which GPU "cuda" or "cuda:N" means; without a number the first.
c10::DeviceIndex index_of(const std::string& name) {
  constexpr std::string_view kPrefix = "cuda:";
  if (name == "cuda") return 0;
  c10::DeviceIndex index = 0;
  const char* const end = name.data() + name.size();
  if (!name.starts_with(kPrefix)) throw_unknown(name);
  const auto [rest, error] = std::from_chars(name.data() + kPrefix.size(), end, index);
  if (error != std::errc() || rest != end || index < 0) throw_unknown(name);
  return index;
}

}  // namespace

at::Device parse_device(const std::string& name) {
  if (name == "cpu") return at::kCPU;
  const c10::DeviceIndex index = index_of(name);
#ifdef TAESR_CUDA
  const int count = c10::cuda::device_count();
  if (index >= count) {
    const std::string there = count == 0 ? "no GPU is there" : "the last one is cuda:" + std::to_string(count - 1);
    throw InvalidArgument("device is '" + name + "', but " + there +
                          "; use device \"cpu\" or check the driver with nvidia-smi");
  }
  int major = 0;
  if (cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, index) != cudaSuccess || major < 8) {
    throw InvalidArgument("device is '" + name + "', whose compute capability is " + std::to_string(major) +
                          ".x; the kernels need 8.0 or newer (A100, RTX 30); use device \"cpu\"");
  }
  return {at::kCUDA, index};
#else
  (void)index;
  throw InvalidArgument("device is '" + name +
                        "', but this build of taesr has no CUDA; use device \"cpu\", or build with TAESR_CUDA=ON");
#endif
}

LoadedModel load_model_for_device(const std::filesystem::path& folder, Precision precision) {
  if (precision != Precision::kAuto && precision != Precision::kFloat32 && precision != Precision::kBFloat16) {
    throw InvalidArgument(std::string("precision is '") + name_of(precision) +
                          "'; on a GPU allowed: auto, float32, bfloat16");
  }
  if (!std::filesystem::is_directory(folder)) {
    throw IoError("'" + folder.string() + "' is not a model folder; it should hold " + kConfigFile + ", " + kWeightsFile +
                  " and " + kTokenizerFile);
  }
  auto config = TAESRConfig::from_file(folder / kConfigFile);
  auto tokenizer = Tokenizer::load(folder / kTokenizerFile);
  if (tokenizer.size() != static_cast<std::size_t>(config.vocab_size)) {
    throw FormatError("'" + folder.string() + "': the tokenizer has " + std::to_string(tokenizer.size()) +
                      " pieces, the config asks for " + std::to_string(config.vocab_size));
  }
  auto weights = load_weights(folder / kWeightsFile);
  for (auto& [name, tensor] : weights) tensor = tensor.to(at::kFloat);
  auto resolved = EncoderWeights::resolve(config, weights, "'" + (folder / kWeightsFile).string() + "'");
  const Precision used = precision == Precision::kFloat32 ? Precision::kFloat32 : Precision::kBFloat16;
  return {folder, std::move(config), std::move(tokenizer), used, std::move(resolved), nullptr, fingerprint_of(folder)};
}

}  // namespace taesr
