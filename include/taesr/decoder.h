#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "taesr/decoder_config.h"
#include "taesr/export.h"
#include "taesr/matrix.h"

namespace taesr {

struct LoadedDecoder;

/// What a decoder keeps of earlier tokens, where layers are shared.
enum class KvCaching {
  kFull,    // keys and values of every application of a layer; with routers, of those that a token reaches
  kShared,  // those of its first application, which the later ones read: less memory, another function
};

/// What a decoder computes with.
enum class WeightPrecision {
  kAuto,      // kStored on the CPU, kBFloat16 on a GPU
  kStored,    // weights as the file has them; those in blocks are multiplied with inputs of 8 bits. CPU only
  kBFloat16,  // what the file has is rounded to bfloat16, on a GPU the inputs of products too
  kFloat32,   // all in float32: exact, with 2 to 8 times the memory and time
};

/// "auto", "stored", "bfloat16" or "float32"; throws InvalidArgument for anything else.
[[nodiscard]] TAESR_API WeightPrecision parse_weight_precision(const std::string& name);
[[nodiscard]] TAESR_API const char* name_of(WeightPrecision precision);

struct DecoderOptions {
  KvCaching kv_caching = KvCaching::kFull;
  WeightPrecision precision = WeightPrecision::kAuto;
  std::string device = "cpu";  // or "cuda", "cuda:N": weights, keys and values are on this GPU
};

/// What the matrices of a saved model are stored as; the rest is float32.
enum class SavedPrecision { kFloat32, kFloat16, kBFloat16, kQ8_0, kQ4_1, kQ4_0 };

struct SaveDecoderOptions {
  SavedPrecision precision = SavedPrecision::kQ8_0;
  /// A GGUF file whose tokenizer and chat template the new one gets; empty: the file that the decoder was
  /// loaded from, if it is one.
  std::filesystem::path tokenizer = {};
  /// Matrices that are rounded already, by their names as in Decoder::weights: blocks of `precision`, of all
  /// rows, as ggml has them. They are written as they are.
  std::map<std::string, std::span<const std::byte>> blocks = {};
};

struct ChatMessage {
  std::string role;  // "system", "user" or "assistant"
  std::string content;
};

struct GenerateOptions {
  std::size_t max_tokens = 256;
  double temperature = 0;         // 0: always the most probable token; up to 100
  std::size_t top_k = 0;          // draw from so many of the most probable tokens; 0: from all
  double top_p = 1;               // and from the fewest that have this probability together; above 0
  double repetition_penalty = 1;  // above 1: tokens of the prompt and the text become less probable
  std::map<int, double> logit_bias = {};  // by token, added to its score before all else; -1000 to 1000
  std::vector<std::string> stop = {};  // texts that end the generation; they are not part of the text
  std::uint64_t seed = 0;         // equal seeds draw equal tokens
};

enum class FinishReason {
  kEnd,        // the model ended its text
  kStop,       // one of the texts of `stop`
  kLength,     // max_tokens, or all of the model's positions
  kCancelled,  // the caller wanted no more
};

/// "end", "stop", "length" or "cancelled".
[[nodiscard]] TAESR_API const char* name_of(FinishReason reason);

struct Generation {
  std::string text;           // UTF-8
  std::vector<int> tokens;    // all that were generated, those of a stop text or the end token too
  FinishReason finish = FinishReason::kCancelled;
  std::size_t prompt_tokens = 0;
  double prefill_seconds = 0;
  double decode_seconds = 0;
  std::size_t kv_bytes = 0;   // memory of keys and values at the end
};

/// What tokens pass on their way through a model, and what they leave.
struct DecoderTrace {
  std::vector<int> recursions;    // of the shared layers, by token
  std::size_t kv_bytes = 0;       // memory of their keys and values
  std::size_t kv_bytes_read = 0;  // of these, what the next token reads if it passes all recursions
};

/// A text that is being generated. Not for several threads at once.
class TAESR_API TextStream {
 public:
  ~TextStream();
  TextStream(TextStream&&) noexcept;
  TextStream& operator=(TextStream&&) noexcept;

  /// Works for at most one part of the prompt or one token, and puts what is certain to be part of the text
  /// into `piece`: whole characters, perhaps none. False when the text is complete.
  bool next(std::string& piece);

  /// What there is so far; `finish` is kCancelled until the text is complete.
  [[nodiscard]] const Generation& result() const;

 private:
  friend class Decoder;
  struct Impl;
  explicit TextStream(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// A Llama-style decoder with its weights, shared or not, and with its tokenizer where the file holds one.
///
/// Const methods are safe concurrently.
class TAESR_API Decoder {
 public:
  /// Loads a GGUF file of architecture "llama" (F32, F16, BF16, Q4_0, Q4_1, Q8_0), or a folder with
  /// config.json and model.safetensors named as transformers' LlamaForCausalLM has them, which has no
  /// tokenizer. Throws IoError, FormatError, or InvalidArgument for sizes out of range; they name the file
  /// and the field, and for a device that is not there or a precision that it does not compute with.
  [[nodiscard]] static Decoder load(const std::filesystem::path& path, const DecoderOptions& options = {});
  ~Decoder();
  Decoder(Decoder&&) noexcept;
  Decoder& operator=(Decoder&&) noexcept;

  /// Scores of every next token after each of `tokens` [tokens, vocab_size]. Throws InvalidArgument for ids
  /// out of range and for more tokens than max_positions.
  [[nodiscard]] Matrix logits(std::span<const int> tokens) const;

  /// Where the routers send these tokens, and the memory that they take. Throws as logits() does.
  [[nodiscard]] DecoderTrace trace(std::span<const int> tokens) const;

  // The next three throw InvalidArgument for a model without a tokenizer.

  /// Tokens of a text. Names of special tokens in it are text like any other, unless `parse_special`.
  [[nodiscard]] std::vector<int> encode(const std::string& text, bool parse_special = false) const;
  /// Text of tokens without the special ones; U+FFFD for what is not UTF-8. Throws InvalidArgument for ids
  /// out of range.
  [[nodiscard]] std::string decode(std::span<const int> tokens) const;
  /// Tokens of a conversation up to the beginning of the assistant's answer. Throws InvalidArgument for other
  /// roles and for a model whose chat template is not ChatML.
  [[nodiscard]] std::vector<int> encode_chat(std::span<const ChatMessage> messages) const;

  /// Continues `prompt` (1 to max_positions tokens) piece by piece. The stream keeps the weights alive.
  [[nodiscard]] TextStream stream(std::span<const int> prompt, const GenerateOptions& options = {}) const;
  /// The same at once. `on_piece`, if there is one, sees each piece, empty ones too; when it returns false
  /// the generation ends there.
  [[nodiscard]] Generation generate(std::span<const int> prompt, const GenerateOptions& options = {},
                                    const std::function<bool(const std::string& piece)>& on_piece = {}) const;

  /// Writes a GGUF file of architecture "llama", which other engines read too unless layers are shared.
  /// Blocks of 32 values are rounded as ggml does. Throws IoError, FormatError for a tokenizer that cannot be
  /// read, and InvalidArgument for one of another size, for rows that are not whole blocks, and for blocks of
  /// a matrix that the model does not have, of another size or with a value that is not finite.
  void save(const std::filesystem::path& path, const SaveDecoderOptions& options = {}) const;

  /// All weights in float32, by their names in transformers' LlamaForCausalLM; vectors as one row.
  [[nodiscard]] std::map<std::string, Matrix> weights() const;

  [[nodiscard]] const DecoderConfig& config() const;
  /// Memory of the weights.
  [[nodiscard]] std::size_t weight_bytes() const;

 private:
  friend class GenerationQueue;
  explicit Decoder(std::shared_ptr<const LoadedDecoder> model);
  std::shared_ptr<const LoadedDecoder> model_;
};

}  // namespace taesr
