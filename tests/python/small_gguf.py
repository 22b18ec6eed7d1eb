"""A small GGUF file with random weights, the tokenizer of bytes and a ChatML template."""

import struct
from pathlib import Path

import numpy as np

_U32, _F32, _STRING, _ARRAY, _I32 = 4, 6, 8, 9, 5
CHAT = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ "
    "'<|im_start|>system\nBe brief<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + "
    "message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIAL = ["<|im_start|>", "<|im_end|>"]
VOCABULARY = 256 + len(SPECIAL)
HIDDEN, INNER, LAYERS, HEADS = 16, 24, 2, 2


def write(
    path: Path, *, positions: int = 4096, weights: bool = True, template: str = CHAT, seed: int = 0
) -> Path:
    """Write the file; without `weights` it has the tokenizer alone."""
    tokens = [*_byte_tokens(), *SPECIAL]
    metadata: list[bytes] = [
        _text("general.architecture", "llama"),
        _text("tokenizer.ggml.model", "gpt2"),
        _text("tokenizer.ggml.pre", "smollm"),
        _key("tokenizer.ggml.tokens") + _array(_STRING, [_string(token) for token in tokens]),
        _key("tokenizer.ggml.token_type")
        + _array(_I32, [struct.pack("<i", 1 if n < 256 else 3) for n in range(len(tokens))]),
        _key("tokenizer.ggml.merges") + _array(_STRING, []),
        _number("tokenizer.ggml.eos_token_id", len(tokens) - 1),
        _text("tokenizer.chat_template", template),
    ]
    tensors: list[tuple[str, np.ndarray]] = []
    if weights:
        metadata += [
            _number("llama.embedding_length", HIDDEN),
            _number("llama.feed_forward_length", INNER),
            _number("llama.block_count", LAYERS),
            _number("llama.attention.head_count", HEADS),
            _number("llama.context_length", positions),
            _key("llama.attention.layer_norm_rms_epsilon") + struct.pack("<If", _F32, 1e-5),
        ]
        tensors = _tensors(len(tokens), np.random.default_rng(seed))
    head, data = b"", b""
    for name, values in tensors:
        data += b"\0" * (-len(data) % 32)
        shape = struct.pack(f"<{values.ndim}Q", *values.shape[::-1])
        head += _string(name) + struct.pack("<I", values.ndim) + shape + struct.pack("<IQ", 0, len(data))
        data += values.astype("<f4").tobytes()
    begin = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata)) + b"".join(metadata) + head
    path.write_bytes(begin + b"\0" * (-len(begin) % 32) + data)
    return path


def _tensors(vocabulary: int, draw: np.random.Generator) -> list[tuple[str, np.ndarray]]:
    def matrix(rows: int, columns: int) -> np.ndarray:
        return 0.3 * draw.standard_normal((rows, columns))

    tensors = [("token_embd.weight", matrix(vocabulary, HIDDEN)), ("output_norm.weight", np.ones(HIDDEN))]
    for layer in range(LAYERS):
        sizes = {
            "attn_q": (HIDDEN, HIDDEN),
            "attn_k": (HIDDEN, HIDDEN),
            "attn_v": (HIDDEN, HIDDEN),
            "attn_output": (HIDDEN, HIDDEN),
            "ffn_gate": (INNER, HIDDEN),
            "ffn_up": (INNER, HIDDEN),
            "ffn_down": (HIDDEN, INNER),
        }
        tensors += [(f"blk.{layer}.{name}.weight", matrix(*size)) for name, size in sizes.items()]
        tensors += [(f"blk.{layer}.{name}.weight", np.ones(HIDDEN)) for name in ("attn_norm", "ffn_norm")]
    return tensors


def _byte_tokens() -> list[str]:
    """The printable spelling of every byte."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


def _string(text: str) -> bytes:
    data = text.encode("utf-8")
    return struct.pack("<Q", len(data)) + data


def _key(name: str) -> bytes:
    return _string(name)


def _text(name: str, value: str) -> bytes:
    return _key(name) + struct.pack("<I", _STRING) + _string(value)


def _number(name: str, value: int) -> bytes:
    return _key(name) + struct.pack("<II", _U32, value)


def _array(kind: int, items: list[bytes]) -> bytes:
    return struct.pack("<IIQ", _ARRAY, kind, len(items)) + b"".join(items)
