"""Random models that are small enough for any test."""

import shutil
from pathlib import Path
from typing import Any

import torch

import taesr
from taesr import TAESRConfig, TAESRModel

TOKENIZER = Path(taesr.__file__).parent / "models" / "default" / "tokenizer.model"


def small_config(**fields: Any) -> TAESRConfig:
    """A config for the bundled tokenizer; `fields` replace what is said here or add to it."""
    small: dict[str, Any] = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_attention_heads": 2,
        "max_position_embeddings": 24,
        "recursion_steps": {"easy": 1, "medium": 2, "hard": 4},
        "embedding_size": 16,
        "matryoshka_dimensions": [4, 16],
    }
    return TAESRConfig(**small | fields)


def save(model: TAESRModel, folder: Path, **options: Any) -> Path:
    """Make a model folder with the bundled tokenizer; `options` are those of `save_pretrained`."""
    model.save_pretrained(folder, **options)
    shutil.copyfile(TOKENIZER, folder / TOKENIZER.name)
    return folder


def write_release(folder: Path) -> Path:
    """A random model, stored as a release is: float16, its token table int8, with a card."""
    torch.manual_seed(0)
    model = TAESRModel(small_config(matryoshka_dimensions=[8, 16]))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            scale = 0.5 if name == "embeddings.token.weight" else 0.1
            parameter.add_(scale * torch.randn_like(parameter))
    save(model, folder, dtype=torch.float16, token_table="int8")
    (folder / "README.md").write_text("a card\n")
    return folder
