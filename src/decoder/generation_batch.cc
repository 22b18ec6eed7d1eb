#include "decoder/generation_batch.h"

#include <algorithm>

#include <ATen/Parallel.h>

namespace taesr {
namespace {

/// Tokens of a prompt that are worth a turn, where many prompts share what is left of a batch.
constexpr std::size_t kLeastPart = 16;

}  // namespace

GenerationBatch::GenerationBatch(const LoadedDecoder& decoder, std::size_t batch_tokens, bool refill)
    : batch_tokens_(batch_tokens), refill_(refill), pass_(decoder.make_pass()) {}

void GenerationBatch::add(BatchedText& text) {
  texts_.push_back(&text);
  prompts_.push_back(&text);
}

void GenerationBatch::remove(BatchedText& text) {
  std::erase(texts_, &text);
  std::erase(prompts_, &text);
}

std::size_t GenerationBatch::step(const ForwardPass::Meanwhile& meanwhile) {
  moving_.clear();
  rows_ = 0;
  for (BatchedText* const text : texts_) {
    if (text->segment.finished()) continue;
    moving_.push_back(text);
    rows_ += static_cast<std::size_t>(text->segment.active());
  }
  if (refill_ || moving_.empty()) {
    begin_decoding();
    begin_prompts();
  }
  segments_.clear();
  for (BatchedText* const text : moving_) segments_.push_back(&text->segment);
  if (segments_.empty()) {
    meanwhile();
    return 0;
  }
  pass_->step(segments_, meanwhile);
  extend_texts();
  return rows_;
}

/// Each text's last token.
void GenerationBatch::begin_decoding() {
  for (BatchedText* const text : texts_) {
    if (text->state.complete() || text->failure) continue;  // until it is removed
    if (text->segment.finished() && !text->state.reads_prompt()) begin(*text, 1);
  }
}

/// Parts of prompts for the rest of the batch, in turns.
void GenerationBatch::begin_prompts() {
  for (std::size_t left = prompts_.size(); left > 0 && rows_ < batch_tokens_; --left) {
    BatchedText& text = *prompts_.front();
    prompts_.pop_front();
    if (text.segment.finished()) {
      const std::size_t room = batch_tokens_ - rows_;
      begin(text, std::min(room, std::max(kLeastPart, room / left)));
    }
    if (text.state.reads_prompt()) prompts_.push_back(&text);
  }
}

void GenerationBatch::begin(BatchedText& text, std::size_t most) {
  const std::span<const int> tokens = text.state.unread(most);
  text.segment.begin(tokens, text.state.cache(), text.state.wanted(tokens.size()),
                     text.state.enough());
  text.state.mark_read(tokens.size());
  moving_.push_back(&text);
  rows_ += tokens.size();
}

/// The next token of each text whose last one has passed all layers.
void GenerationBatch::extend_texts() {
  at::parallel_for(0, static_cast<std::int64_t>(moving_.size()), 1,
                   [&](std::int64_t begin, std::int64_t end) {
                     for (std::int64_t i = begin; i < end; ++i) {
                       BatchedText& text = *moving_[static_cast<std::size_t>(i)];
                       if (!text.segment.finished() || !text.segment.has_scores()) continue;
                       try {
                         text.state.extend(text.segment, text.piece);
                       } catch (...) {
                         text.failure = std::current_exception();
                       }
                     }
                   });
}

}  // namespace taesr
