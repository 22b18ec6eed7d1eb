#include "taesr/decoder.h"

#include <array>
#include <utility>

#include "decoder/config.h"
#include "decoder/forward.h"
#include "decoder/loaded_decoder.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

constexpr const char* kTokens = "tokenizer.ggml.tokens";
constexpr const char* kChatTemplate = "tokenizer.chat_template";

}  // namespace

const ByteBpe& LoadedDecoder::need_tokenizer() const {
  if (!tokenizer) {
    throw InvalidArgument("this model has no tokenizer; load it from a GGUF file, or work with tokens");
  }
  return *tokenizer;
}

std::shared_ptr<const LoadedDecoder> load_decoder(const std::filesystem::path& path,
                                                  const DecoderOptions& options) {
  auto model = std::make_shared<LoadedDecoder>();
  model->path = path;
  model->options = options;
  if (std::filesystem::is_directory(path)) {
    model->config = read_decoder_config(path / "config.json");
    model->weights = load_decoder_weights(model->config, options.precision, path / "model.safetensors");
    return model;
  }
  const GgufFile file(path);
  model->config = read_decoder_config(file);
  if (file.has(kTokens)) {
    model->tokenizer.emplace(file);
    if (model->tokenizer->size() != static_cast<std::size_t>(model->config.vocab_size)) {
      throw FormatError("'" + path.string() + "': metadata '" + kTokens + "' has " +
                        std::to_string(model->tokenizer->size()) +
                        " tokens; tensor 'token_embd.weight' has " +
                        std::to_string(model->config.vocab_size) + " rows");
    }
    if (file.has(kChatTemplate)) {
      model->chat = ChatTemplate::recognise(file.text(kChatTemplate), *model->tokenizer);
    }
  }
  model->weights = load_decoder_weights(model->config, options.precision, file);
  return model;
}

Decoder Decoder::load(const std::filesystem::path& path, const DecoderOptions& options) {
  return Decoder(load_decoder(path, options));
}

Decoder::Decoder(std::shared_ptr<const LoadedDecoder> model) : model_(std::move(model)) {}
Decoder::~Decoder() = default;
Decoder::Decoder(Decoder&&) noexcept = default;
Decoder& Decoder::operator=(Decoder&&) noexcept = default;

Matrix Decoder::logits(std::span<const int> tokens) const {
  const DecoderConfig& config = model_->config;
  check_tokens(config, tokens);
  KvCache cache(config, model_->options.kv_caching);
  Matrix logits;
  logits.rows = tokens.size();
  logits.columns = static_cast<std::size_t>(config.vocab_size);
  ForwardPass pass(config, *model_->weights);
  const std::span<const float> scores = pass.run(tokens, cache, LogitsOf::kAllTokens);
  logits.values.assign(scores.begin(), scores.end());
  return logits;
}

DecoderTrace Decoder::trace(std::span<const int> tokens) const {
  check_tokens(model_->config, tokens);
  KvCache cache(model_->config, model_->options.kv_caching);
  ForwardPass pass(model_->config, *model_->weights);
  (void)pass.run(tokens, cache, LogitsOf::kNone);
  return {.recursions = pass.recursions(), .kv_bytes = cache.bytes(), .kv_bytes_read = cache.bytes_read()};
}

std::vector<int> Decoder::encode(const std::string& text, bool parse_special) const {
  return model_->need_tokenizer().encode(text,
                                         parse_special ? SpecialTokens::kParse : SpecialTokens::kAsText);
}

std::string Decoder::decode(std::span<const int> tokens) const {
  return model_->need_tokenizer().decode(tokens);
}

std::vector<int> Decoder::encode_chat(std::span<const ChatMessage> messages) const {
  const ByteBpe& tokenizer = model_->need_tokenizer();
  if (!model_->chat) {
    throw InvalidArgument("this model has no chat template in ChatML; write its prompts as text");
  }
  return model_->chat->encode(tokenizer, messages);
}

Generation Decoder::generate(std::span<const int> prompt, const GenerateOptions& options,
                             const std::function<bool(const std::string&)>& on_piece) const {
  TextStream text = stream(prompt, options);
  std::string piece;
  while (text.next(piece)) {
    if (on_piece && !on_piece(piece)) break;
  }
  return text.result();
}

void Decoder::save(const std::filesystem::path& path, const SaveDecoderOptions& options) const {
  constexpr std::array kTypes = {GgmlType::kF32,  GgmlType::kF16,  GgmlType::kBF16,
                                 GgmlType::kQ8_0, GgmlType::kQ4_1, GgmlType::kQ4_0};
  const std::filesystem::path from = !options.tokenizer.empty() ? options.tokenizer
                                     : model_->tokenizer        ? model_->path
                                                                : std::filesystem::path();
  std::optional<GgufFile> tokenizer;
  if (!from.empty()) tokenizer.emplace(from);
  save_gguf(model_->config, *model_->weights, kTypes[static_cast<std::size_t>(options.precision)],
            tokenizer ? &*tokenizer : nullptr, path);
}

std::map<std::string, Matrix> Decoder::weights() const {
  return export_weights(model_->config, *model_->weights);
}
const DecoderConfig& Decoder::config() const { return model_->config; }
std::size_t Decoder::weight_bytes() const { return model_->weights->bytes(); }

}  // namespace taesr
