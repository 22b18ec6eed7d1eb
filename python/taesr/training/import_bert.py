"""BERT checkpoints as start models: layers placed in the recursive shape, the token table pruned."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from taesr._native import core
from taesr.config import TAESRConfig
from taesr.errors import FormatError, InvalidArgument, IoError
from taesr.training.vocabulary import PrunedVocabulary
from taesr.training.wordpiece import read_json

_PARTS = {
    "attention.out": "attention.output.dense",
    "mlp.up": "intermediate.dense",
    "mlp.down": "output.dense",
}
_NORMS = {"attention_norm": "attention.output.LayerNorm", "mlp_norm": "output.LayerNorm"}


@dataclass(frozen=True, kw_only=True)
class LayerPlan:
    """Which of the checkpoint's layers goes where, counted from 0; a layer may be used more than once.

    Parameters
    ----------
    entry, shared, refinement, exit
        Layers before the recursion, in it, after it at depths above one, and at the end.
    recursions
        Deepest recursion: that many copies of the shared layers' norms are made.
    positions
        Tokens read in one pass. Positions beyond the checkpoint's repeat its last ones in order, so
        that those of the checkpoint stay exact and neighbours keep their relation.
    """

    entry: Sequence[int] = (0,)
    shared: Sequence[int] = (1, 2)
    refinement: Sequence[int] = ()
    exit: Sequence[int] = (5,)
    recursions: int = 6
    positions: int = 512

    def __post_init__(self) -> None:
        if not self.shared:
            raise InvalidArgument("the plan has no shared layer; allowed: 1 and more")
        for name, value in (("recursions", self.recursions), ("positions", self.positions)):
            if value < 1:
                raise InvalidArgument(f"{name} is {value}; allowed: 1 and more")


def bert_weights(folder: str | Path, plan: LayerPlan) -> dict[str, torch.Tensor]:
    """Weights of a BERT checkpoint under taesr's names, float32.

    The token types' first row is added to the positions (BERT adds it to every token of a single
    text), roles and re-injection start at zero, and the head is the identity. The token table is whole.

    Raises
    ------
    InvalidArgument, FormatError, IoError
        Name the field or file.
    """
    folder = Path(folder)
    settings = read_bert_config(folder)
    source = _without_prefix(core.load_weights(str(folder / "model.safetensors")), folder)
    layers = settings["num_hidden_layers"]
    for name in ("entry", "shared", "refinement", "exit"):
        for layer in getattr(plan, name):
            if not 0 <= layer < layers:
                raise InvalidArgument(f"{name} names layer {layer}; allowed: 0 to {layers - 1}")
    size = settings["hidden_size"]
    position = (
        source["embeddings.position_embeddings.weight"] + source["embeddings.token_type_embeddings.weight"][0]
    )
    weights = {
        "embeddings.token.weight": source["embeddings.word_embeddings.weight"],
        "embeddings.position.weight": extend_positions(position, plan.positions),
        "embeddings.role.weight": torch.zeros(2, size),
        "embeddings.norm.weight": source["embeddings.LayerNorm.weight"],
        "embeddings.norm.bias": source["embeddings.LayerNorm.bias"],
        "reinject.weight": torch.zeros(plan.recursions, size),
        "head.weight": torch.eye(size),
        "head.bias": torch.zeros(size),
    }
    for group in ("entry", "shared", "refinement", "exit"):
        for index, layer in enumerate(getattr(plan, group)):
            target = f"{group}.{index}."
            weights |= _layer(source, layer, target)
            copies = [f"recursion.{r}." for r in range(plan.recursions)] if group == "shared" else [""]
            for copy in copies:
                weights |= _norms(source, layer, target + copy)
    return {name: weight.float().clone() for name, weight in weights.items()}


def read_bert_config(folder: Path) -> dict[str, Any]:
    """The checkpoint's config.json, checked to describe a BERT that taesr's layers can compute."""
    path = folder / "config.json"
    settings = read_json(path)
    wanted = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute"}
    for name, value in wanted.items():
        if settings.get(name, value) != value:
            raise FormatError(f"{path}: {name} is {settings[name]!r}; only {value!r} can be imported")
    for name in ("hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers"):
        if not isinstance(settings.get(name), int):
            raise FormatError(f"{path}: {name} is missing, or not a whole number")
    return settings


def extend_positions(table: torch.Tensor, positions: int) -> torch.Tensor:
    """Cut a position table [P, H], or extend it by repeating its last rows in order."""
    extra = positions - len(table)
    if extra <= 0:
        return table[:positions]
    pieces = [table]
    while extra > 0:
        # The first row, [CLS]'s, is no place in a text: it is not repeated.
        block = table[max(1 if len(table) > 1 else 0, len(table) - extra) :]
        pieces.append(block)
        extra -= len(block)
    return torch.cat(pieces)[:positions]


def _without_prefix(weights: Mapping[str, torch.Tensor], folder: Path) -> dict[str, torch.Tensor]:
    """Names from "embeddings." and "encoder." on, whatever the class that saved them put before."""
    found = {re.sub(r"^.*?(?=(embeddings|encoder)\.)", "", name, count=1): w for name, w in weights.items()}
    for name in ("word_embeddings.weight", "position_embeddings.weight", "token_type_embeddings.weight"):
        if f"embeddings.{name}" not in found:
            raise FormatError(f"{folder / 'model.safetensors'}: no weight 'embeddings.{name}'; not BERT's")
    return found


def _layer(source: Mapping[str, torch.Tensor], layer: int, target: str) -> dict[str, torch.Tensor]:
    origin = f"encoder.layer.{layer}."
    result = {}
    for kind in ("weight", "bias"):
        parts = [source[f"{origin}attention.self.{p}.{kind}"] for p in ("query", "key", "value")]
        result[f"{target}attention.qkv.{kind}"] = torch.cat(parts)
        for name, part in _PARTS.items():
            result[f"{target}{name}.{kind}"] = source[f"{origin}{part}.{kind}"]
    return result


def _norms(source: Mapping[str, torch.Tensor], layer: int, target: str) -> dict[str, torch.Tensor]:
    origin = f"encoder.layer.{layer}."
    return {
        f"{target}{name}.{kind}": source[f"{origin}{part}.{kind}"]
        for name, part in _NORMS.items()
        for kind in ("weight", "bias")
    }


def import_bert(
    folder: str | Path,
    output: str | Path,
    plan: LayerPlan,
    *,
    vocabulary: PrunedVocabulary,
    dtype: torch.dtype = torch.float32,
) -> TAESRConfig:
    """Write a model folder that starts from a BERT checkpoint; returns its config.

    Parameters
    ----------
    folder
        Hugging Face folder of the checkpoint: config.json and model.safetensors.
    vocabulary
        What `prune_vocabulary` made of the checkpoint's tokenizer.

    Raises
    ------
    InvalidArgument, FormatError, IoError
        Name the field or file.
    """
    settings = read_bert_config(Path(folder))
    weights = bert_weights(folder, plan)
    weights["embeddings.token.weight"] = vocabulary.table(weights["embeddings.token.weight"])
    size = settings["hidden_size"]
    deepest = plan.recursions
    config = TAESRConfig(
        vocab_size=len(vocabulary.rows),
        hidden_size=size,
        intermediate_size=settings["intermediate_size"],
        num_attention_heads=settings["num_attention_heads"],
        max_position_embeddings=plan.positions,
        layer_norm_eps=settings.get("layer_norm_eps", 1e-12),
        entry_layers=len(plan.entry),
        shared_layers=len(plan.shared),
        refinement_layers=len(plan.refinement),
        exit_layers=len(plan.exit),
        recursion_steps={"easy": 1, "medium": (deepest + 1) // 2, "hard": deepest},
        embedding_size=size,
        matryoshka_dimensions=sorted({max(1, size // 6), max(1, size // 3), max(1, size * 2 // 3), size}),
    )
    core.check_weights(config.native, weights, str(folder))
    output = Path(output)
    try:
        output.mkdir(parents=True, exist_ok=True)
        (output / "config.json").write_text(config.to_json() + "\n")
        (output / "tokenizer.model").write_bytes(vocabulary.tokenizer)
    except OSError as error:
        raise IoError(f"{output}: {error.strerror}") from error
    core.save_weights(str(output / "model.safetensors"), {n: w.to(dtype) for n, w in weights.items()})
    return config
