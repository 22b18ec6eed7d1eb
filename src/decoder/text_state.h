#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "decoder/forward.h"
#include "decoder/loaded_decoder.h"
#include "decoder/sampler.h"

namespace taesr {

/// Throws InvalidArgument for what cannot be generated: options out of range, a prompt that is empty, too
/// long or has ids out of range, a model without a tokenizer.
void check_request(const LoadedDecoder& decoder, std::span<const int> prompt, const GenerateOptions& options);

/// A text that is being generated, whoever runs the decoder: which tokens to run next, and what becomes of
/// their logits.
class TextState {
 public:
  TextState(std::shared_ptr<const LoadedDecoder> decoder, std::span<const int> prompt,
            const GenerateOptions& options);

  /// The next tokens to run, at most `most`: of the prompt, or the last of the text.
  [[nodiscard]] std::span<const int> unread(std::size_t most) const;
  /// Which of their logits are needed.
  [[nodiscard]] LogitsOf wanted(std::size_t tokens) const;
  /// How many of the best logits are enough; 0: all are needed.
  [[nodiscard]] std::size_t enough() const { return sampler_.enough(); }
  /// Takes note that so many tokens have been run.
  void mark_read(std::size_t tokens) { read_ += tokens; }
  /// Chooses the next token by the scores that the last one's segment has, and puts what is certain to be
  /// part of the text into `piece`: whole characters.
  void extend(const Segment& segment, std::string& piece);
  void finish(FinishReason reason);

  /// Whether there are tokens of the prompt to be read.
  [[nodiscard]] bool reads_prompt() const { return read_ < result_.prompt_tokens; }
  [[nodiscard]] bool complete() const { return complete_; }
  [[nodiscard]] KvCache& cache() { return *cache_; }
  [[nodiscard]] const LoadedDecoder& decoder() const { return *decoder_; }
  [[nodiscard]] Generation& result() { return result_; }
  [[nodiscard]] const Generation& result() const { return result_; }

 private:
  [[nodiscard]] bool is_full() const;
  [[nodiscard]] std::size_t find_stop() const;
  void take(int token);
  void release(std::string& piece);

  std::shared_ptr<const LoadedDecoder> decoder_;
  GenerateOptions options_;
  Sampler sampler_;
  std::unique_ptr<KvCache> cache_;
  std::vector<int> tokens_;  // of the prompt and the text
  std::size_t read_ = 0;     // those that the cache holds
  std::string held_;         // bytes that may yet become part of a stop text or of a character
  bool complete_ = false;
  Generation result_;
};

}  // namespace taesr
