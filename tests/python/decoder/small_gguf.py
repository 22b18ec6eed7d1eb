"""GGUF files with a byte-level tokenizer, and small decoders that speak it."""

import struct
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from taesr import Decoder
from tests.python.decoder.reference_decoder import CONFIG, random_weights, save

SPECIAL = ["<|im_start|>", "<|im_end|>"]
VOCABULARY = 256 + len(SPECIAL)
TEMPLATE = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def byte_spellings() -> list[str]:
    """Printable characters for all bytes, as GPT-2 has them."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) if byte in printable else chr(0x100 + others.index(byte)) for byte in range(256)]


def write_tokenizer(path: Path) -> Path:
    """Write a file without weights: one token for each byte."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value.encode())) + value.encode()

    def texts(values: list[str]) -> bytes:
        return struct.pack("<IQ", 8, len(values)) + b"".join(map(text, values))

    types = struct.pack(f"<IQ{VOCABULARY}i", 5, VOCABULARY, *([1] * 256 + [3] * len(SPECIAL)))
    pairs = {
        "tokenizer.ggml.model": (8, text("gpt2")),
        "tokenizer.ggml.pre": (8, text("smollm")),
        "tokenizer.ggml.tokens": (9, texts(byte_spellings() + SPECIAL)),
        "tokenizer.ggml.token_type": (9, types),
        "tokenizer.ggml.merges": (9, texts([])),
        "tokenizer.ggml.eos_token_id": (4, struct.pack("<I", VOCABULARY - 1)),
        "tokenizer.chat_template": (8, text(TEMPLATE)),
    }
    body = b"".join(text(key) + struct.pack("<I", kind) + value for key, (kind, value) in pairs.items())
    path.write_bytes(b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs)) + body)
    return path


def small_weights(unique: int) -> dict[str, Tensor]:
    """Random weights for the tokenizer's vocabulary."""
    generator = torch.Generator().manual_seed(0)
    weights = random_weights(unique)
    weights["model.embed_tokens.weight"] = 0.2 * torch.randn(
        VOCABULARY, CONFIG["hidden_size"], generator=generator
    )
    return weights


def save_gguf(folder: Path, weights: dict[str, Tensor], *, precision: Any = "float32", **fields: Any) -> Path:
    """Write a model folder, and what Decoder.save makes of it."""
    save(weights, folder, vocab_size=VOCABULARY, **fields)
    path = folder / "model.gguf"
    Decoder.load(folder).save(path, precision=precision, tokenizer=write_tokenizer(folder / "tokenizer.gguf"))
    return path
