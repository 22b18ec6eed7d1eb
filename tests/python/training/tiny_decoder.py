"""A decoder of a few thousand weights with a tokenizer of bytes, as a GGUF file; and small texts."""

import json
import struct
from pathlib import Path
from typing import Any

import torch

from taesr.nn import DecoderConfig, RecursiveDecoder
from taesr.training.decoder import DecoderTrainConfig
from taesr.training.fields import with_value

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
_CHAT = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou help.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def tiny_config(**fields: Any) -> DecoderConfig:
    sizes: dict[str, Any] = {
        "vocab_size": 256 + len(SPECIAL),
        "hidden_size": 32,
        "intermediate_size": 48,
        "layers": 6,
        "heads": 4,
        "kv_heads": 2,
        "head_dim": 8,
        "max_positions": 128,
    }
    return DecoderConfig(**sizes | fields)


def tiny_decoder(seed: int = 0, **fields: Any) -> RecursiveDecoder:
    torch.manual_seed(seed)
    decoder = RecursiveDecoder(tiny_config(**fields))
    with torch.no_grad():
        for name, parameter in decoder.named_parameters():
            if "router" not in name:
                parameter.copy_(0.2 * torch.randn(parameter.shape) + (parameter.dim() == 1))
    return decoder


def write_gguf(path: Path, decoder: RecursiveDecoder) -> None:
    """Write a decoder without sharing, with a tokenizer whose tokens are bytes and the special ones."""
    shape = decoder.config
    pairs = {
        "general.architecture": "llama",
        "llama.embedding_length": shape.hidden_size,
        "llama.feed_forward_length": shape.intermediate_size,
        "llama.block_count": shape.layers,
        "llama.attention.head_count": shape.heads,
        "llama.attention.head_count_kv": shape.kv_heads,
        "llama.attention.layer_norm_rms_epsilon": shape.norm_eps,
        "llama.rope.freq_base": shape.rope_theta,
        "llama.context_length": shape.max_positions,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": SPECIAL + _byte_names(),
        "tokenizer.ggml.token_type": [3] * len(SPECIAL) + [1] * 256,
        "tokenizer.ggml.merges": [],
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.chat_template": _CHAT,
    }
    tensors = {}
    for name, value in decoder.state_dict().items():
        parts = name.removesuffix(".weight").split(".", 3)
        if name == "model.embed_tokens.weight":
            gguf = "token_embd"
        elif name == "model.norm.weight":
            gguf = "output_norm"
        else:
            gguf = f"blk.{parts[2]}.{_NAMES[parts[3]]}"
        heads = {"attn_q": shape.heads, "attn_k": shape.kv_heads}.get(gguf.rsplit(".")[-1])
        if heads is not None:  # the pairs of a rotation lie side by side there
            value = value.view(heads, 2, shape.head_dim // 2, -1).transpose(1, 2).reshape(value.shape)
        tensors[f"{gguf}.weight"] = value.float().contiguous()
    entries, data = b"", b""
    for name, value in tensors.items():
        extents = [*reversed(value.shape)]
        entries += _text(name) + struct.pack(f"<I{len(extents)}QIQ", len(extents), *extents, 0, len(data))
        data += value.numpy().tobytes()
        data += bytes(-len(data) % 32)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs))
    head += b"".join(_text(key) + _value(value) for key, value in pairs.items()) + entries
    path.write_bytes(head + bytes(-len(head) % 32) + data)


def _byte_names() -> list[str]:
    """The characters that byte-level vocabularies spell the 256 bytes with."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(others)) for byte in range(256)]


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _value(value: Any) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    words = bool(value) and isinstance(value[0], int)
    items = b"".join(struct.pack("<i", v) if words else _text(v) for v in value)
    return struct.pack("<IIQ", 9, 5 if words else 8, len(value)) + items


def small_texts(documents: int = 80) -> str:
    """Documents that can be learnt: counting in words."""
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight"]
    texts = []
    for i in range(documents):
        lines = [" ".join(words[(i + line + k) % 8] for k in range(5 + i % 3)) for line in range(2 + i % 3)]
        texts.append("\n".join([f"= Text {i} =", *lines]))
    return "\n\n".join(texts) + "\n"


def small_conversations(count: int = 60) -> str:
    rows = []
    for i in range(count):
        question = {"role": "user", "content": f"What follows {i}?"}
        rows.append(json.dumps({"messages": [question, {"role": "assistant", "content": str(i + 1)}]}))
    return "\n".join(rows) + "\n"


def decoder_document(folder: Path, **changes: Any) -> dict[str, Any]:
    """A configuration as JSON over files in `folder`; changes are named with double underscores for dots."""
    start, texts = folder / "start.gguf", folder / "texts.txt"
    if not start.exists():
        write_gguf(start, tiny_decoder())
        texts.write_text(small_texts())
    document: dict[str, Any] = {
        "output": str(folder / "run"),
        "device": "cpu",
        "model": {"init": str(start), "sharing": "middle_cycle", "routing": "expert_choice"},
        "data": {
            "cache": str(folder / "cache"),
            "sources": [str(texts)],
            "sequence_length": 32,
            "batch_sequences": 4,
            "held_out": 0.2,
        },
        "losses": {"teacher": {"path": str(start)}, "chunk_tokens": 48},
        "routing": {"step_tokens": 4},
        "optimizer": {"lr": 3e-3},
        "schedule": {"warmup": 3, "steps": 6},
        "precision": "fp32",
        "ema": 0.9,
        "log": {"every": 1},
    }
    for name, value in changes.items():
        document = with_value(document, name.replace("__", "."), value)
    return document


def decoder_config(folder: Path, **changes: Any) -> DecoderTrainConfig:
    return DecoderTrainConfig.from_dict(decoder_document(folder, **changes))
