#include "taesr/decoder.h"

#include <utility>

#include "decoder/config.h"
#include "decoder/forward.h"
#include "taesr/errors.h"

namespace taesr {

struct Decoder::Impl {
  DecoderConfig config;
  DecoderWeights weights;
  DecoderOptions options;
};

Decoder Decoder::load(const std::filesystem::path& path, const DecoderOptions& options) {
  auto impl = std::make_shared<Impl>();
  impl->options = options;
  if (std::filesystem::is_directory(path)) {
    impl->config = read_decoder_config(path / "config.json");
    impl->weights = load_decoder_weights(impl->config, path / "model.safetensors");
  } else {
    const GgufFile file(path);
    impl->config = read_decoder_config(file);
    impl->weights = load_decoder_weights(impl->config, file);
  }
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
  logits.values = decoder_forward(config, impl_->weights, tokens, cache, LogitsOf::kAllTokens);
  return logits;
}

const DecoderConfig& Decoder::config() const { return impl_->config; }
std::size_t Decoder::weight_bytes() const { return impl_->weights.bytes(); }

}  // namespace taesr
