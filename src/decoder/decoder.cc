#include "taesr/decoder.h"

#include <array>
#include <utility>

#include "decoder/config.h"
#include "decoder/device/device_decoder.h"
#include "decoder/host_pass.h"
#include "decoder/loaded_decoder.h"
#include "engine/cuda/device_encoder.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

constexpr const char* kTokens = "tokenizer.ggml.tokens";
constexpr const char* kChatTemplate = "tokenizer.chat_template";
constexpr std::array kPrecisions = {"auto", "stored", "bfloat16", "float32"};

void check_gpu_precision(WeightPrecision precision) {
  if (precision != WeightPrecision::kStored) return;
  throw InvalidArgument("precision is 'stored'; on a GPU allowed: auto, bfloat16, float32");
}

}  // namespace

const ByteBpe& LoadedDecoder::need_tokenizer() const {
  if (!tokenizer) {
    throw InvalidArgument("this model has no tokenizer; load it from a GGUF file, or work with tokens");
  }
  return *tokenizer;
}

std::unique_ptr<ForwardPass> LoadedDecoder::make_pass() const {
  if (device) return device->make_pass();
  return std::make_unique<HostPass>(config, *weights);
}

std::unique_ptr<KvCache> LoadedDecoder::make_cache() const {
  if (device) return device->make_cache();
  return std::make_unique<HostKvCache>(config, options.kv_caching);
}

std::shared_ptr<LoadedDecoder> read_decoder(const std::filesystem::path& path,
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

std::shared_ptr<const LoadedDecoder> load_decoder(const std::filesystem::path& path,
                                                  const DecoderOptions& options) {
  const at::Device place = parse_device(options.device);
  if (place.is_cpu()) return read_decoder(path, options);
  check_gpu_precision(options.precision);
  DecoderOptions as_stored = options;  // precise, and small beside the GPU's copy
  as_stored.precision = WeightPrecision::kStored;
  auto model = read_decoder(path, as_stored);
  model->options = options;
  const at::ScalarType dtype = options.precision == WeightPrecision::kFloat32 ? at::kFloat : at::kBFloat16;
  model->device =
      std::make_shared<DeviceDecoder>(model->config, *model->weights, options.kv_caching, dtype, place);
  return model;
}

WeightPrecision parse_weight_precision(const std::string& name) {
  for (std::size_t i = 0; i < kPrecisions.size(); ++i) {
    if (name == kPrecisions[i]) return static_cast<WeightPrecision>(i);
  }
  throw InvalidArgument("precision is '" + name.substr(0, 60) +
                        "'; allowed: auto, stored, bfloat16, float32");
}

const char* name_of(WeightPrecision precision) { return kPrecisions[static_cast<std::size_t>(precision)]; }

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
  const auto cache = model_->make_cache();
  const auto pass = model_->make_pass();
  Matrix logits;
  logits.rows = tokens.size();
  logits.columns = static_cast<std::size_t>(config.vocab_size);
  const std::span<const float> scores = pass->run(tokens, *cache, LogitsOf::kAllTokens).logits();
  logits.values.assign(scores.begin(), scores.end());
  return logits;
}

DecoderTrace Decoder::trace(std::span<const int> tokens) const {
  check_tokens(model_->config, tokens);
  const auto cache = model_->make_cache();
  const auto pass = model_->make_pass();
  const Segment& passed = pass->run(tokens, *cache, LogitsOf::kNone);
  return {.recursions = passed.recursions(),
          .kv_bytes = cache->bytes(),
          .kv_bytes_read = cache->bytes_read()};
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
            options.blocks, tokenizer ? &*tokenizer : nullptr, path);
}

std::map<std::string, Matrix> Decoder::weights() const {
  return export_weights(model_->config, *model_->weights);
}
const DecoderConfig& Decoder::config() const { return model_->config; }
std::size_t Decoder::weight_bytes() const {
  return model_->device ? model_->device->bytes() : model_->weights->bytes();
}

}  // namespace taesr
