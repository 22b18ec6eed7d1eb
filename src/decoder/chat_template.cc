#include "decoder/chat_template.h"

#include "taesr/errors.h"

namespace taesr {
namespace {

constexpr std::string_view kLoop = "{% for message in messages %}";
constexpr std::string_view kDefaultBegin =
    "{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n";
constexpr std::string_view kDefaultEnd = "<|im_end|>\n' }}{% endif %}";
constexpr std::string_view kMessages =
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// Line ends are written either as themselves or as Jinja's escape.
std::string with_line_ends(std::string_view jinja) {
  std::string text;
  for (std::size_t i = 0; i < jinja.size(); ++i) {
    const bool escape = jinja.substr(i, 2) == "\\n";
    text += escape ? '\n' : jinja[i];
    if (escape) ++i;
  }
  return text;
}

}  // namespace

std::optional<ChatTemplate> ChatTemplate::recognise(std::string_view jinja, const ByteBpe& tokenizer) {
  const auto start = tokenizer.special("<|im_start|>");
  const auto end = tokenizer.special("<|im_end|>");
  const std::string text = with_line_ends(jinja);
  std::string_view rest = text;
  if (!start || !end || !rest.starts_with(kLoop)) return std::nullopt;
  rest.remove_prefix(kLoop.size());
  ChatTemplate made;
  made.start_ = *start;
  made.end_ = *end;
  if (rest.starts_with(kDefaultBegin)) {
    rest.remove_prefix(kDefaultBegin.size());
    const std::size_t size = rest.find(kDefaultEnd);
    if (size == std::string_view::npos ||
        rest.substr(0, size).find_first_of("'\\") != std::string_view::npos) {
      return std::nullopt;
    }
    made.system_ = std::string(rest.substr(0, size));
    rest.remove_prefix(size + kDefaultEnd.size());
  }
  if (rest != kMessages) return std::nullopt;
  return made;
}

std::vector<int> ChatTemplate::encode(const ByteBpe& tokenizer, std::span<const ChatMessage> messages) const {
  if (messages.empty()) throw InvalidArgument("a conversation needs at least one message");
  std::vector<int> ids;
  const auto append = [&](const std::string& text) {
    const auto more = tokenizer.encode(text, SpecialTokens::kAsText);
    ids.insert(ids.end(), more.begin(), more.end());
  };
  const auto append_message = [&](const std::string& role, const std::string& content) {
    ids.push_back(start_);
    append(role + "\n" + content);
    ids.push_back(end_);
    append("\n");
  };
  if (system_ && messages.front().role != "system") append_message("system", *system_);
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const auto& [role, content] = messages[i];
    if (role != "system" && role != "user" && role != "assistant") {
      throw InvalidArgument("message " + std::to_string(i) + ": role is '" + role.substr(0, 60) +
                            "'; allowed: system, user, assistant");
    }
    append_message(role, content);
  }
  ids.push_back(start_);
  append("assistant\n");
  return ids;
}

}  // namespace taesr
