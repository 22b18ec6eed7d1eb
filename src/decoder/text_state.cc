#include "decoder/text_state.h"

#include <algorithm>

#include "decoder/config.h"
#include "taesr/errors.h"

namespace taesr {
namespace {

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

void check_request(const LoadedDecoder& decoder, std::span<const int> prompt,
                   const GenerateOptions& options) {
  check_options(options, decoder.config.vocab_size);
  (void)decoder.need_tokenizer();
  if (prompt.empty()) throw InvalidArgument("the prompt has no tokens; give at least one");
  check_tokens(decoder.config, prompt);
  if (static_cast<std::int64_t>(prompt.size()) >= decoder.config.max_positions) {
    throw InvalidArgument("the prompt takes all of the model's " +
                          std::to_string(decoder.config.max_positions) + " positions; shorten it");
  }
}

TextState::TextState(std::shared_ptr<const LoadedDecoder> decoder, std::span<const int> prompt,
                     const GenerateOptions& options)
    : decoder_(std::move(decoder)),
      options_(options),
      sampler_(options),
      cache_(decoder_->make_cache()),
      tokens_(prompt.begin(), prompt.end()) {
  result_.prompt_tokens = prompt.size();
}

std::span<const int> TextState::unread(std::size_t most) const {
  return std::span(tokens_).subspan(read_, std::min(most, tokens_.size() - read_));
}

LogitsOf TextState::wanted(std::size_t tokens) const {
  return read_ + tokens == tokens_.size() ? LogitsOf::kLastToken : LogitsOf::kNone;
}

void TextState::extend(const Segment& segment, std::string& piece) {
  take(segment.best().empty() ? sampler_.choose(segment.logits(), tokens_) : sampler_.choose(segment.best()));
  release(piece);
  result_.text += piece;
  result_.kv_bytes = cache_->bytes();
}

void TextState::finish(FinishReason reason) {
  complete_ = true;
  result_.finish = reason;
}

void TextState::take(int token) {
  tokens_.push_back(token);
  result_.tokens.push_back(token);
  const ByteBpe& tokenizer = *decoder_->tokenizer;
  if (token == tokenizer.end()) return finish(FinishReason::kEnd);
  held_ += tokenizer.bytes_of(token);
  if (const std::size_t stop = find_stop(); stop != std::string::npos) {
    held_.resize(stop);
    finish(FinishReason::kStop);
  } else if (result_.tokens.size() == options_.max_tokens || is_full()) {
    finish(FinishReason::kLength);
  }
}

bool TextState::is_full() const {
  return static_cast<std::int64_t>(tokens_.size()) >= decoder_->config.max_positions;
}

/// Where the first of the stop texts begins in what is held.
std::size_t TextState::find_stop() const {
  std::size_t first = std::string::npos;
  for (const std::string& stop : options_.stop) first = std::min(first, held_.find(stop));
  return first;
}

/// Gives out all that no later token can change.
void TextState::release(std::string& piece) {
  std::size_t keep = 0;
  if (!complete_) {
    keep = broken_off(held_);
    for (const std::string& stop : options_.stop) keep = std::max(keep, possible_beginning(held_, stop));
  }
  const std::size_t size = held_.size() - keep;
  piece = replace_invalid_utf8(std::string_view(held_).substr(0, size));
  held_.erase(0, size);
}

}  // namespace taesr
