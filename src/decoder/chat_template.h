#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "decoder/byte_bpe.h"
#include "taesr/decoder.h"

namespace taesr {

/// The ChatML format of conversations, as a model's template asks for it.
class ChatTemplate {
 public:
  /// Recognises the Jinja templates that write ChatML, with or without a system message of the model's own.
  /// Nothing for others, which would have to be run: the model then takes no conversations.
  [[nodiscard]] static std::optional<ChatTemplate> recognise(std::string_view jinja,
                                                             const ByteBpe& tokenizer);

  /// Tokens of a conversation and of the beginning of an answer. What users write never becomes a special
  /// token.
  [[nodiscard]] std::vector<int> encode(const ByteBpe& tokenizer,
                                        std::span<const ChatMessage> messages) const;

 private:
  int start_ = 0;
  int end_ = 0;
  std::optional<std::string> system_;  // put before conversations without a system message
};

}  // namespace taesr
