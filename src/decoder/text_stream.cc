#include <array>
#include <chrono>

#include "decoder/text_state.h"

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

}  // namespace

const char* name_of(FinishReason reason) {
  return std::array{"end", "stop", "length", "cancelled"}[static_cast<std::size_t>(reason)];
}

struct TextStream::Impl {
  Impl(std::shared_ptr<const LoadedDecoder> decoder, std::span<const int> prompt,
       const GenerateOptions& options)
      : state(std::move(decoder), prompt, options), pass(state.decoder().make_pass()) {}

  bool next(std::string& piece) {
    piece.clear();
    if (failed || state.complete()) return false;
    try {
      step(piece);
    } catch (...) {
      failed = true;  // the cache may hold half a token
      throw;
    }
    return true;
  }

  void step(std::string& piece) {
    Generation& result = state.result();
    const Segment* last = nullptr;
    {
      const Stopwatch watch(state.reads_prompt() ? result.prefill_seconds : result.decode_seconds);
      const std::span<const int> part = state.unread(kPromptStep);
      last = &pass->run(part, state.cache(), state.wanted(part.size()), state.enough());
      state.mark_read(part.size());
    }
    const Stopwatch watch(result.decode_seconds);
    if (last->has_scores()) state.extend(*last, piece);
  }

  TextState state;
  std::unique_ptr<ForwardPass> pass;
  bool failed = false;
};

TextStream::TextStream(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TextStream::~TextStream() = default;
TextStream::TextStream(TextStream&&) noexcept = default;
TextStream& TextStream::operator=(TextStream&&) noexcept = default;

bool TextStream::next(std::string& piece) { return impl_->next(piece); }
const Generation& TextStream::result() const { return std::as_const(impl_->state).result(); }

TextStream Decoder::stream(std::span<const int> prompt, const GenerateOptions& options) const {
  check_request(*model_, prompt, options);
  return TextStream(std::make_unique<TextStream::Impl>(model_, prompt, options));
}

}  // namespace taesr
