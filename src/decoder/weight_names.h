#pragma once

namespace taesr {

/// Spellings of one weight's name: "model.layers.3." and "blk.3." and so on.
struct WeightNames {
  const char* token;
  const char* final_norm;
  const char* head;
  const char* layer;
  const char* attention_norm;
  const char* query;
  const char* key;
  const char* value;
  const char* output;
  const char* mlp_norm;
  const char* gate;
  const char* up;
  const char* down;
  const char* router;
  const char* router_bias;
};

inline constexpr WeightNames kGgufNames = {
    "token_embd.weight",  "output_norm.weight", "output.weight",   "blk.",
    "attn_norm.weight",   "attn_q.weight",      "attn_k.weight",   "attn_v.weight",
    "attn_output.weight", "ffn_norm.weight",    "ffn_gate.weight", "ffn_up.weight",
    "ffn_down.weight",    "router.weight",      "router.bias"};
inline constexpr WeightNames kLlamaNames = {"model.embed_tokens.weight",
                               "model.norm.weight",
                               "lm_head.weight",
                               "model.layers.",
                               "input_layernorm.weight",
                               "self_attn.q_proj.weight",
                               "self_attn.k_proj.weight",
                               "self_attn.v_proj.weight",
                               "self_attn.o_proj.weight",
                               "post_attention_layernorm.weight",
                               "mlp.gate_proj.weight",
                               "mlp.up_proj.weight",
                               "mlp.down_proj.weight",
                               "model.router.weight",
                               "model.router.bias"};

}  // namespace taesr
