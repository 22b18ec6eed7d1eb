"""Small models in folders, for tests of what is trained on top of them."""

import shutil
from pathlib import Path
from typing import Literal

import torch

import taesr
from taesr import TAESRConfig, TAESRModel

_TOKENIZER = Path(taesr.__file__).parent / "models" / "default" / "tokenizer.model"


def write_model(folder: Path, *, token_table: Literal["float", "int8"] = "int8") -> Path:
    """A random small model, stored as a release is: float16, its token table int8."""
    torch.manual_seed(0)
    config = TAESRConfig(
        hidden_size=16,
        intermediate_size=32,
        num_attention_heads=2,
        max_position_embeddings=24,
        recursion_steps={"easy": 1, "medium": 2, "hard": 4},
        embedding_size=16,
        matryoshka_dimensions=[8, 16],
    )
    model = TAESRModel(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            scale = 0.5 if name == "embeddings.token.weight" else 0.1
            parameter.add_(scale * torch.randn_like(parameter))
    model.save_pretrained(folder, dtype=torch.float16, token_table=token_table)
    shutil.copyfile(_TOKENIZER, folder / "tokenizer.model")
    (folder / "README.md").write_text("a card\n")
    return folder
