"""Small decoders that speak the tokens of `small_gguf`, saved as GGUF."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from taesr import Decoder
from tests.python import small_gguf
from tests.python.decoder.reference_decoder import CONFIG, random_weights, save

VOCABULARY = small_gguf.VOCABULARY
TEMPLATE = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


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
    tokenizer = small_gguf.write(folder / "tokenizer.gguf", weights=False, template=TEMPLATE)
    Decoder.load(folder).save(path, precision=precision, tokenizer=tokenizer)
    return path
