#include <algorithm>
#include <array>
#include <chrono>

#include "decoder/config.h"
#include "decoder/decoder_impl.h"
#include "decoder/forward.h"
#include "decoder/sampler.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

/// Tokens of a prompt that are read in one step: between steps the caller may turn away.
constexpr std::size_t kPromptStep = 256;

class Stopwatch {
 public:
  explicit Stopwatch(double& seconds) : seconds_(seconds), start_(std::chrono::steady_clock::now()) {}
  ~Stopwatch() {
    seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

 private:
  double& seconds_;
  std::chrono::steady_clock::time_point start_;
};

/// Bytes at the end of `text` that may be the beginning of `stop`.
std::size_t possible_beginning(std::string_view text, std::string_view stop) {
  for (std::size_t size = std::min(text.size(), stop.size() - 1); size > 0; --size) {
    if (text.ends_with(stop.substr(0, size))) return size;
  }
  return 0;
}

/// Bytes at the end of `text` that a later token may complete to a character.
std::size_t broken_off(std::string_view text) {
  for (std::size_t size = std::min<std::size_t>(3, text.size()); size > 0; --size) {
    if (incomplete_character(text, text.size() - size) == size) return size;
  }
  return 0;
}

}  // namespace

const char* name_of(FinishReason reason) {
  return std::array{"end", "stop", "length", "cancelled"}[static_cast<std::size_t>(reason)];
}

struct TextStream::Impl {
  Impl(std::shared_ptr<const Decoder::Impl> model, std::span<const int> prompt, const GenerateOptions& wanted)
      : decoder(std::move(model)),
        options(wanted),
        sampler(wanted),
        cache(decoder->config, decoder->options.kv_caching),
        pass(decoder->config, *decoder->weights),
        tokens(prompt.begin(), prompt.end()) {
    result.prompt_tokens = prompt.size();
  }

  bool next(std::string& piece) {
    piece.clear();
    if (complete) return false;
    try {
      step(piece);
    } catch (...) {
      complete = true;  // the cache may hold half a token
      throw;
    }
    return true;
  }

  void step(std::string& piece) {
    if (read + kPromptStep < result.prompt_tokens) {
      (void)forward(kPromptStep, LogitsOf::kNone);
      return;
    }
    const std::span<float> logits = forward(tokens.size() - read, LogitsOf::kLastToken);
    const Stopwatch watch(result.decode_seconds);
    take(sampler.choose(logits, tokens), piece);
    result.text += piece;
    result.kv_bytes = cache.bytes();
  }

  std::span<float> forward(std::size_t count, LogitsOf wanted) {
    const Stopwatch watch(read < result.prompt_tokens ? result.prefill_seconds : result.decode_seconds);
    const auto part = std::span(tokens).subspan(read, count);
    read += count;
    return pass.run(part, cache, wanted);
  }

  void finish(FinishReason reason) {
    complete = true;
    result.finish = reason;
  }

  void take(int token, std::string& piece) {
    tokens.push_back(token);
    result.tokens.push_back(token);
    const ByteBpe& tokenizer = *decoder->tokenizer;
    if (token == tokenizer.end()) {
      finish(FinishReason::kEnd);
    } else {
      held += tokenizer.bytes_of(token);
      if (const std::size_t stop = find_stop(); stop != std::string::npos) {
        held.resize(stop);
        finish(FinishReason::kStop);
      } else if (result.tokens.size() == options.max_tokens || is_full()) {
        finish(FinishReason::kLength);
      }
    }
    release(piece);
  }

  [[nodiscard]] bool is_full() const {
    return static_cast<std::int64_t>(tokens.size()) >= decoder->config.max_positions;
  }

  /// Where the first of the stop texts begins in what is held.
  [[nodiscard]] std::size_t find_stop() const {
    std::size_t first = std::string::npos;
    for (const std::string& stop : options.stop) first = std::min(first, held.find(stop));
    return first;
  }

  /// Gives out all that no later token can change.
  void release(std::string& piece) {
    std::size_t keep = 0;
    if (!complete) {
      keep = broken_off(held);
      for (const std::string& stop : options.stop) keep = std::max(keep, possible_beginning(held, stop));
    }
    const std::size_t size = held.size() - keep;
    piece = replace_invalid_utf8(std::string_view(held).substr(0, size));
    held.erase(0, size);
  }

  std::shared_ptr<const Decoder::Impl> decoder;
  GenerateOptions options;
  Sampler sampler;
  KvCache cache;
  ForwardPass pass;
  std::vector<int> tokens;  // of the prompt and the text
  std::size_t read = 0;     // those that the cache holds
  std::string held;         // bytes that may yet become part of a stop text or of a character
  bool complete = false;
  Generation result;
};

TextStream::TextStream(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TextStream::~TextStream() = default;
TextStream::TextStream(TextStream&&) noexcept = default;
TextStream& TextStream::operator=(TextStream&&) noexcept = default;

bool TextStream::next(std::string& piece) { return impl_->next(piece); }
const Generation& TextStream::result() const { return impl_->result; }

TextStream Decoder::stream(std::span<const int> prompt, const GenerateOptions& options) const {
  check_options(options);
  (void)impl_->need_tokenizer();
  if (prompt.empty()) throw InvalidArgument("the prompt has no tokens; give at least one");
  check_tokens(impl_->config, prompt);
  if (static_cast<std::int64_t>(prompt.size()) >= impl_->config.max_positions) {
    throw InvalidArgument("the prompt takes all of the model's " +
                          std::to_string(impl_->config.max_positions) + " positions; shorten it");
  }
  return TextStream(std::make_unique<TextStream::Impl>(impl_, prompt, options));
}

}  // namespace taesr
