#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "taesr/config.h"
#include "taesr/embedder.h"
#include "taesr/export.h"
#include "taesr/sparse_vector.h"
#include "taesr/tokenizer.h"

namespace taesr {

/// Arithmetic of the layers' matrix products. Norms, softmax and pooling are always float32.
enum class Precision {
  kAuto,      // bfloat16 where the processor multiplies it natively (AMX or AVX-512 BF16), else float32
  kFloat32,
  kBFloat16,
  kInt8,      // weights with a scale for each output, inputs with one for each token, and a token table of 8 bits:
              // the least memory, on every processor, and the fastest where it has VNNI; states, attention and heads
              // as with kAuto. Not for models with token routing
};

/// "auto", "float32", "bfloat16" or "int8"; throws InvalidArgument for anything else.
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

/// Which heads read the states of one pass.
struct Outputs {
  bool dense = true;
  bool sparse = false;  // for models with config.sparse_head
  bool late = false;    // for models with config.late_size
  std::vector<std::string> subspaces = {};  // names from config.subspaces
};

/// Of "dense", "sparse", "late" and "subspace:NAME"; throws InvalidArgument for anything else and for no name at all.
[[nodiscard]] TAESR_API Outputs parse_outputs(std::span<const std::string> names);

struct EncodeOptions {
  Role role = Role::kPassage;
  std::string depth = "auto";  // "easy", "medium", "hard", "auto" or a number of recursions; subspaces are
                               // read from the deepest states whatever the depth
  std::size_t dim = 0;         // Matryoshka prefix, 1 to dimension(), renormalised; 0: all
  Overflow on_overflow = Overflow::kChunk;
  std::size_t max_tokens = 0;  // of one pass, 16 to Encoder::max_tokens(); 0: the latter
  Outputs outputs = {};
  std::size_t sparse_top = 256;  // heaviest pieces that a text keeps
  std::optional<double> max_flops = {};    // by text, as Encoder::flops counts: the deepest named depth that this pays
                                           // for, and no deeper than `depth`; with "auto" the router is not asked
  std::optional<double> deadline_ms = {};  // for the call: short texts first, depths lowered as the measured rate
                                           // demands; so not the same depths in every call
  std::size_t first_text = 0;              // number of the first text in messages, for calls that are parts of one
};

struct EncodeResult {
  Matrix embeddings;                      // unit rows [texts, dim]; no rows unless asked for, like the next two
  std::vector<SparseVector> sparse;       // by text; of several windows the largest weight of each piece
  std::vector<Matrix> late;               // by text: unit rows [tokens, late_size] without the special tokens,
                                          // window after window: tokens that two windows share are there twice
  std::map<std::string, Matrix> subspaces;  // by name: unit rows [texts, dimensions], of the deepest states
  std::vector<int> depths;                // recursions used, by text; all its windows take what the deepest needs
                                          // (a deadline may lower some of them: the least)
  Matrix router_probabilities;            // [texts, 3] of easy, medium, hard; no rows where no router chose
  std::vector<std::size_t> token_counts;  // by text, special tokens not counted
  std::vector<std::size_t> windows;       // passes through the model, by text; above 1: longer than one pass
  std::size_t truncated = 0;              // texts whose end was not read
  bool deadline_missed = false;           // complete all the same, but not in time
};

struct StreamOptions;
struct StreamReport;

/// The recursive encoder with its tokenizer and weights: texts in, unit vectors out, and from the same
/// pass sparse vectors over the vocabulary (SPLADE) and one vector a token (ColBERT) where it has the heads.
///
/// With depth "auto" a model with a router (config.router_size) chooses the depth of each text, from its
/// states after the entry layers; without one it is "medium".
///
/// An embedding depends on its own text, role and depth alone: not on batch-mates, order or batch
/// size. Const methods are safe concurrently.
class TAESR_API Encoder final : public Embedder {
 public:
  /// Loads a model folder: config.json, model.safetensors, tokenizer.model. Without a path: the
  /// folder named by the environment variable TAESR_MODEL, else the model that ships with the library.
  /// `device` is "cpu", "cuda" or "cuda:N", for a GPU in a build with TAESR_CUDA=ON: bfloat16 there, or float32.
  /// Throws IoError for missing files, FormatError or InvalidArgument for damaged ones, and InvalidArgument for
  /// a device that is not there.
  [[nodiscard]] static Encoder load(const std::optional<std::filesystem::path>& path = {},
                                    Precision precision = Precision::kAuto, const std::string& device = "cpu");
  ~Encoder() override;
  Encoder(Encoder&&) noexcept;
  Encoder& operator=(Encoder&&) noexcept;

  /// Throws InvalidArgument for options out of range, for heads that the model lacks and for texts that
  /// take more than max_flops even at depth easy.
  [[nodiscard]] EncodeResult encode(std::span<const std::string> texts, const EncodeOptions& options = {}) const;

  /// Any number of texts in bounded memory: from `source` to `sink`, in order. See taesr/stream.h.
  StreamReport encode_stream(const std::function<bool(std::string&)>& source,
                             const std::function<void(EncodeResult&&)>& sink, const StreamOptions& options) const;

  /// Floating-point operations for a text of `tokens` tokens, special ones not counted, windows of long texts
  /// included; a multiplication and an addition count as two. Matrix products only: the rest is below one
  /// percent. "auto" counts as "medium".
  [[nodiscard]] double flops(std::size_t tokens, const std::string& depth, const Outputs& outputs = {}) const;

  /// Queries for sparse passages without a pass through the model: each piece of a text with its inverse
  /// document frequency. Reads all of a long text. Throws InvalidArgument if the model has no sparse head.
  [[nodiscard]] std::vector<SparseVector> encode_sparse_query(std::span<const std::string> texts) const;

  [[nodiscard]] Embeddings embed(std::span<const std::string> texts, Role role,
                                 const std::string& depth) const override;
  [[nodiscard]] ExtraHeads extra_heads() const override;
  [[nodiscard]] Embeddings embed_all(std::span<const std::string> texts, Role role, const std::string& depth,
                                     const ExtraHeads& heads) const override;
  [[nodiscard]] std::size_t dimension() const override;
  [[nodiscard]] std::string fingerprint() const override;
  [[nodiscard]] std::size_t count_tokens(const std::string& text) const override;
  [[nodiscard]] std::size_t max_tokens() const override;

  [[nodiscard]] const TAESRConfig& config() const;
  [[nodiscard]] const Tokenizer& tokenizer() const;
  [[nodiscard]] Precision precision() const;                     // never kAuto
  [[nodiscard]] std::string device() const;                      // "cpu" or "cuda:N"
  [[nodiscard]] const std::filesystem::path& source() const;     // the model folder

 private:
  struct Impl;
  explicit Encoder(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// Folder of the model that ships with the library.
[[nodiscard]] TAESR_API std::filesystem::path default_model_path();

}  // namespace taesr
