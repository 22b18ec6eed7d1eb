#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "taesr/decoder_config.h"
#include "taesr/export.h"
#include "taesr/matrix.h"

namespace taesr {

/// What a decoder keeps of earlier tokens, where layers are shared.
enum class KvCaching {
  kFull,    // keys and values of every application of a layer
  kShared,  // those of its first application, which the later ones read: less memory, another function
};

struct DecoderOptions {
  KvCaching kv_caching = KvCaching::kFull;
};

/// A Llama-style decoder with its weights, shared or not.
///
/// Const methods are safe concurrently.
class TAESR_API Decoder {
 public:
  /// Loads a GGUF file of architecture "llama" (F32, F16, Q4_0, Q4_1, Q8_0), or a folder with config.json and
  /// model.safetensors named as transformers' LlamaForCausalLM has them. Throws IoError, or FormatError that names
  /// the file and the field.
  [[nodiscard]] static Decoder load(const std::filesystem::path& path, const DecoderOptions& options = {});
  ~Decoder();
  Decoder(Decoder&&) noexcept;
  Decoder& operator=(Decoder&&) noexcept;

  /// Scores of every next token after each of `tokens` [tokens, vocab_size]. Throws InvalidArgument for ids out of
  /// range and for more tokens than max_positions.
  [[nodiscard]] Matrix logits(std::span<const int> tokens) const;

  [[nodiscard]] const DecoderConfig& config() const;
  /// Memory of the weights.
  [[nodiscard]] std::size_t weight_bytes() const;

 private:
  struct Impl;
  explicit Decoder(std::shared_ptr<const Impl> impl);
  std::shared_ptr<const Impl> impl_;
};

}  // namespace taesr
