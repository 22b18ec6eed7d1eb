#include "taesr/decoder.h"

#include <utility>

#include "decoder/config.h"
#include "decoder/decoder_impl.h"
#include "decoder/forward.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

constexpr const char* kTokens = "tokenizer.ggml.tokens";
constexpr const char* kChatTemplate = "tokenizer.chat_template";

}  // namespace

const ByteBpe& Decoder::Impl::need_tokenizer() const {
  if (!tokenizer) {
    throw InvalidArgument("this model has no tokenizer; load it from a GGUF file, or work with tokens");
  }
  return *tokenizer;
}

Decoder Decoder::load(const std::filesystem::path& path, const DecoderOptions& options) {
  auto impl = std::make_shared<Impl>();
  impl->options = options;
  if (std::filesystem::is_directory(path)) {
    impl->config = read_decoder_config(path / "config.json");
    impl->weights = load_decoder_weights(impl->config, options.precision, path / "model.safetensors");
    return Decoder(std::move(impl));
  }
  const GgufFile file(path);
  impl->config = read_decoder_config(file);
  if (file.has(kTokens)) {
    impl->tokenizer.emplace(file);
    if (impl->tokenizer->size() != static_cast<std::size_t>(impl->config.vocab_size)) {
      throw FormatError("'" + path.string() + "': metadata '" + kTokens + "' has " +
                        std::to_string(impl->tokenizer->size()) + " tokens; tensor 'token_embd.weight' has " +
                        std::to_string(impl->config.vocab_size) + " rows");
    }
    if (file.has(kChatTemplate)) {
      impl->chat = ChatTemplate::recognise(file.text(kChatTemplate), *impl->tokenizer);
    }
  }
  impl->weights = load_decoder_weights(impl->config, options.precision, file);
  return Decoder(std::move(impl));
}

Decoder::Decoder(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
Decoder::~Decoder() = default;
Decoder::Decoder(Decoder&&) noexcept = default;
Decoder& Decoder::operator=(Decoder&&) noexcept = default;

Matrix Decoder::logits(std::span<const int> tokens) const {
  const DecoderConfig& config = impl_->config;
  check_tokens(config, tokens);
  KvCache cache(config, impl_->options.kv_caching);
  Matrix logits;
  logits.rows = tokens.size();
  logits.columns = static_cast<std::size_t>(config.vocab_size);
  ForwardPass pass(config, *impl_->weights);
  const std::span<const float> scores = pass.run(tokens, cache, LogitsOf::kAllTokens);
  logits.values.assign(scores.begin(), scores.end());
  return logits;
}

DecoderTrace Decoder::trace(std::span<const int> tokens) const {
  check_tokens(impl_->config, tokens);
  KvCache cache(impl_->config, impl_->options.kv_caching);
  ForwardPass pass(impl_->config, *impl_->weights);
  (void)pass.run(tokens, cache, LogitsOf::kNone);
  return {.recursions = pass.recursions(), .kv_bytes = cache.bytes(), .kv_bytes_read = cache.bytes_read()};
}

std::vector<int> Decoder::encode(const std::string& text, bool parse_special) const {
  return impl_->need_tokenizer().encode(text, parse_special ? SpecialTokens::kParse : SpecialTokens::kAsText);
}

std::string Decoder::decode(std::span<const int> tokens) const {
  return impl_->need_tokenizer().decode(tokens);
}

std::vector<int> Decoder::encode_chat(std::span<const ChatMessage> messages) const {
  const ByteBpe& tokenizer = impl_->need_tokenizer();
  if (!impl_->chat) {
    throw InvalidArgument("this model has no chat template in ChatML; write its prompts as text");
  }
  return impl_->chat->encode(tokenizer, messages);
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

std::map<std::string, Matrix> Decoder::weights() const {
  return export_weights(impl_->config, *impl_->weights);
}
const DecoderConfig& Decoder::config() const { return impl_->config; }
std::size_t Decoder::weight_bytes() const { return impl_->weights->bytes(); }

}  // namespace taesr
