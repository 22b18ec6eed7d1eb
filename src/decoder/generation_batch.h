#pragma once

#include <cstddef>
#include <deque>
#include <exception>
#include <string>
#include <vector>

#include "decoder/forward.h"
#include "decoder/text_state.h"

namespace taesr {

/// A text that is generated beside others.
struct BatchedText {
  BatchedText(std::shared_ptr<const LoadedDecoder> decoder, std::span<const int> prompt,
              const GenerateOptions& options)
      : state(std::move(decoder), prompt, options) {}

  TextState state;
  Segment segment;             // tokens on their way
  std::string piece;           // of the text, from the last step that made one; its reader takes it
  std::exception_ptr failure;  // which ended it
};

/// Generates texts together, step by step: each is one pass of the shared layers for a batch of tokens.
class GenerationBatch {
 public:
  /// With `refill` tokens begin as soon as the batch has room; without, when none is on its way.
  GenerationBatch(const LoadedDecoder& decoder, std::size_t batch_tokens, bool refill);

  // A text stays where it is until it is removed; between steps only.
  void add(BatchedText& text);
  void remove(BatchedText& text);

  /// Returns the tokens of the pass. A text is then complete, or has failed, or needs further steps. What
  /// throws here leaves all texts useless. `meanwhile` is called once, perhaps while a GPU is at work: it
  /// sees what the last step made, and may remove texts that are complete or have failed.
  std::size_t step(const ForwardPass::Meanwhile& meanwhile = [] {});

 private:
  void begin_decoding();
  void begin_prompts();
  void begin(BatchedText& text, std::size_t most);
  void extend_texts();

  std::size_t batch_tokens_;
  bool refill_;
  std::unique_ptr<ForwardPass> pass_;
  std::vector<BatchedText*> texts_;   // in the order in which they came
  std::deque<BatchedText*> prompts_;  // texts whose prompt is not read, those that waited longest first
  std::vector<BatchedText*> moving_;  // of a step
  std::vector<Segment*> segments_;    // theirs
  std::size_t rows_ = 0;              // of a step
};

}  // namespace taesr
