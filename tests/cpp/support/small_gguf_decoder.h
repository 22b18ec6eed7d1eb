#pragma once

#include <string>
#include <vector>

#include "index/unicode.h"
#include "support/ggml_writer.h"
#include "support/gguf_writer.h"
#include "support/random_decoder.h"

namespace taesr::testing {

/// Tokens of every byte in its printable spelling, in the order of the bytes.
inline std::vector<std::string> byte_tokens() {
  std::vector<std::string> tokens;
  char32_t next = 0x100;
  for (char32_t byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
    std::string token;
    append_utf8(token, printable ? byte : next++);
    tokens.push_back(token);
  }
  return tokens;
}

inline const std::string kChatMl =
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ "
    "'<|im_start|>system\nBe brief"
    "<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// Ids: 0 to 255 the bytes, then what the merges make, then <|im_start|> and <|im_end|>, which ends a text.
inline GgufWriter small_gguf_tokenizer(const std::vector<std::string>& merges) {
  std::vector<std::string> tokens = byte_tokens();
  for (const std::string& merge : merges) {
    std::string whole = merge;
    whole.erase(whole.find(' '), 1);
    tokens.push_back(whole);
  }
  std::vector<std::int32_t> types(tokens.size(), 1);
  for (const char* special : {"<|im_start|>", "<|im_end|>"}) {
    tokens.push_back(special);
    types.push_back(3);
  }
  GgufWriter writer;
  writer.add("general.architecture", std::string("llama"));
  writer.add("tokenizer.ggml.model", std::string("gpt2"));
  writer.add("tokenizer.ggml.pre", std::string("smollm"));
  writer.add("tokenizer.ggml.tokens", tokens);
  writer.add("tokenizer.ggml.token_type", types);
  writer.add("tokenizer.ggml.merges", merges);
  writer.add("tokenizer.ggml.eos_token_id", static_cast<std::uint32_t>(tokens.size() - 1));
  writer.add("tokenizer.chat_template", kChatMl);
  return writer;
}

inline const std::vector<std::string> kMerges = {"t h", "th e", "i n", "Ġ the", "h e", "a a", "aa aa"};

/// A whole file with random weights and its matrices of type `type`.
inline std::string small_gguf_decoder(unsigned seed = 1, DecoderConfig config = small_decoder(),
                                      GgmlType type = GgmlType::kF32) {
  GgufWriter writer = small_gguf_tokenizer(kMerges);
  config.vocab_size = 256 + static_cast<std::int64_t>(kMerges.size()) + 2;
  const std::vector<std::pair<std::string, std::int64_t>> sizes = {
      {"llama.embedding_length", config.hidden_size}, {"llama.feed_forward_length", config.intermediate_size},
      {"llama.block_count", config.layers},           {"llama.attention.head_count", config.heads},
      {"llama.attention.head_count_kv", config.kv_heads}, {"llama.context_length", config.max_positions}};
  for (const auto& [key, value] : sizes) writer.add(key, static_cast<std::uint32_t>(value));
  writer.add("llama.attention.layer_norm_rms_epsilon", 1e-5F);
  const std::vector<std::pair<std::string, std::string>> names = {{"model.embed_tokens", "token_embd"},
                                                                  {"model.norm", "output_norm"},
                                                                  {"model.layers.", "blk."},
                                                                  {"input_layernorm", "attn_norm"},
                                                                  {"self_attn.q_proj", "attn_q"},
                                                                  {"self_attn.k_proj", "attn_k"},
                                                                  {"self_attn.v_proj", "attn_v"},
                                                                  {"self_attn.o_proj", "attn_output"},
                                                                  {"post_attention_layernorm", "ffn_norm"},
                                                                  {"mlp.gate_proj", "ffn_gate"},
                                                                  {"mlp.up_proj", "ffn_up"},
                                                                  {"mlp.down_proj", "ffn_down"}};
  for (const auto& [name, tensor] : random_decoder_weights(config, seed)) {
    std::string own = name;
    for (const auto& [from, to] : names) {
      if (const auto at = own.find(from); at != std::string::npos) own.replace(at, from.size(), to);
    }
    const GgmlType stored = tensor.first.size() == 1 ? GgmlType::kF32 : type;
    writer.add_tensor(own, {tensor.first.rbegin(), tensor.first.rend()}, static_cast<std::uint32_t>(stored),
                      ggml_bytes(stored, tensor.second));
  }
  return writer.bytes();
}

}  // namespace taesr::testing
