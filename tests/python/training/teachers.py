"""Small teacher folders: a WordPiece vocabulary, a BERT checkpoint, a SentencePiece model."""

import io
import json
from pathlib import Path
from typing import Any

import sentencepiece
import torch
from safetensors.torch import save_file

HIDDEN, LAYERS, HEADS, POSITIONS = 12, 4, 3, 10
WORDS = ["the", "un", "able", "cafe", "reset", "password", "naive", "stop", "a"]
INSIDE = ["able", "aff", "s", "set", "word", "x", "pass", "re"]
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789ß"
PIECES = [
    "[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{c}" for c in LETTERS),
    *WORDS[:-1], *(f"##{w}" for w in INSIDE if len(w) > 1), *"!'(),-./:?", "##(", "…", "“", "”", "東", "##東",
    "京", "€", "😀", "É",
]  # fmt: skip


def write_wordpiece(folder: Path, pieces: list[str] = PIECES, **options: object) -> Path:
    """A folder with vocab.txt and, where options are given, tokenizer_config.json."""
    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    if options:
        (folder / "tokenizer_config.json").write_text(json.dumps(options))
    return folder


def write_bert(folder: Path, prefix: str = "") -> dict[str, torch.Tensor]:
    """A random BERT checkpoint with the vocabulary above; returns its weights without the prefix."""
    write_wordpiece(folder)
    torch.manual_seed(3)
    shapes = {
        "embeddings.word_embeddings.weight": (len(PIECES), HIDDEN),
        "embeddings.position_embeddings.weight": (POSITIONS, HIDDEN),
        "embeddings.token_type_embeddings.weight": (2, HIDDEN),
        "embeddings.LayerNorm.weight": (HIDDEN,),
        "embeddings.LayerNorm.bias": (HIDDEN,),
        "pooler.dense.weight": (HIDDEN, HIDDEN),
    }
    inner = 2 * HIDDEN
    parts = {"attention.self.query": (HIDDEN, HIDDEN), "attention.self.key": (HIDDEN, HIDDEN),
             "attention.self.value": (HIDDEN, HIDDEN), "attention.output.dense": (HIDDEN, HIDDEN),
             "intermediate.dense": (inner, HIDDEN), "output.dense": (HIDDEN, inner),
             "attention.output.LayerNorm": (HIDDEN,), "output.LayerNorm": (HIDDEN,)}  # fmt: skip
    for layer in range(LAYERS):
        for part, shape in parts.items():
            shapes[f"encoder.layer.{layer}.{part}.weight"] = shape
            shapes[f"encoder.layer.{layer}.{part}.bias"] = shape[:1]
    weights = {name: torch.randn(shape) * 0.5 for name, shape in shapes.items()}
    save_file({prefix + name: weight for name, weight in weights.items()}, folder / "model.safetensors")
    config = {"model_type": "bert", "hidden_act": "gelu", "hidden_size": HIDDEN, "num_hidden_layers": LAYERS,
              "intermediate_size": inner, "num_attention_heads": HEADS, "layer_norm_eps": 1e-12}  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    return weights


def write_sentencepiece(folder: Path, *, size: int = 120, **options: Any) -> Path:
    """A folder with a small SentencePiece model."""
    folder.mkdir(exist_ok=True)
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES), model_writer=written, vocab_size=size, bos_id=0, pad_id=1,
        eos_id=2, unk_id=3, minloglevel=2, **options,
    )  # fmt: skip
    (folder / "tokenizer.model").write_bytes(written.getvalue())
    return folder


_SYLLABLES = [a + b for a in ("", "p", "st", "m", "tr", "k", "v") for b in ("a", "er", "in", "o", "ul")]
_WORDS = [a + b + c for a in _SYLLABLES[5:15] for b in _SYLLABLES[::4] for c in _SYLLABLES[3::6]]
SENTENCES = [
    f"The {_WORDS[i % len(_WORDS)]} {_WORDS[7 * i % len(_WORDS)]} {_WORDS[i * i % 101]} of Engineers, {i}."
    for i in range(320)
]
"""320 texts of made-up words, enough for a unigram model of 120 pieces."""
