#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "taesr/config.h"
#include "taesr/embedder.h"
#include "taesr/export.h"
#include "taesr/tokenizer.h"

namespace taesr {

/// Arithmetic of the large matrix products. Norms, softmax and pooling are always float32.
enum class Precision {
  kAuto,      // bfloat16 where the processor multiplies it natively (AMX or AVX-512 BF16), else float32
  kFloat32,
  kBFloat16,
};

/// "auto", "float32" or "bfloat16"; throws InvalidArgument for anything else.
[[nodiscard]] TAESR_API Precision parse_precision(const std::string& name);
[[nodiscard]] TAESR_API const char* name_of(Precision precision);

/// What happens to a text of more tokens than the model reads in one pass.
enum class Overflow {
  kChunk,     // overlapping windows, their embeddings averaged by length: nothing is lost
  kTruncate,  // the end is not read
  kError,     // InvalidArgument that names the text and its length
};

/// "chunk", "truncate" or "error"; throws InvalidArgument for anything else.
[[nodiscard]] TAESR_API Overflow parse_overflow(const std::string& name);

struct EncodeOptions {
  Role role = Role::kPassage;
  std::string depth = "auto";  // "easy", "medium", "hard", "auto" or a number of recursions
  std::size_t dim = 0;         // Matryoshka prefix, 1 to dimension(), renormalised; 0: all
  Overflow on_overflow = Overflow::kChunk;
};

struct EncodeResult {
  Matrix embeddings;                      // unit rows [texts, dim]
  std::vector<int> depths;                // recursions used, by text
  std::vector<std::size_t> token_counts;  // by text, special tokens not counted
  std::vector<std::size_t> windows;       // passes through the model, by text; above 1: longer than one pass
  std::size_t truncated = 0;              // texts whose end was not read
};

/// The recursive encoder with its tokenizer and weights: texts in, unit vectors out.
///
/// An embedding depends on its own text, role and depth alone: not on batch-mates, order or batch
/// size. Const methods are safe concurrently.
class TAESR_API Encoder final : public Embedder {
 public:
  /// Loads a model folder: config.json, model.safetensors, tokenizer.model. Without a path: the
  /// folder named by the environment variable TAESR_MODEL, else the model that ships with the library.
  /// Throws IoError for missing files and FormatError or InvalidArgument for damaged ones.
  [[nodiscard]] static Encoder load(const std::optional<std::filesystem::path>& path = {},
                                    Precision precision = Precision::kAuto);
  ~Encoder() override;
  Encoder(Encoder&&) noexcept;
  Encoder& operator=(Encoder&&) noexcept;

  [[nodiscard]] EncodeResult encode(std::span<const std::string> texts, const EncodeOptions& options = {}) const;

  [[nodiscard]] Embeddings embed(std::span<const std::string> texts, Role role,
                                 const std::string& depth) const override;
  [[nodiscard]] std::size_t dimension() const override;
  [[nodiscard]] std::string fingerprint() const override;
  [[nodiscard]] std::size_t count_tokens(const std::string& text) const override;
  [[nodiscard]] std::size_t max_tokens() const override;

  [[nodiscard]] const TAESRConfig& config() const;
  [[nodiscard]] const Tokenizer& tokenizer() const;
  [[nodiscard]] Precision precision() const;                     // never kAuto
  [[nodiscard]] const std::filesystem::path& source() const;     // the model folder

 private:
  struct Impl;
  explicit Encoder(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// Folder of the model that ships with the library.
[[nodiscard]] TAESR_API std::filesystem::path default_model_path();

}  // namespace taesr
