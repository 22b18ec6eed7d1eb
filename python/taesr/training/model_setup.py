"""The model that a run starts from."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from taesr._native import core
from taesr.errors import InvalidArgument, IoError
from taesr.nn import TAESRModel
from taesr.training.config import ModelOptions


def build_model(options: ModelOptions) -> TAESRModel:
    """Make the model; parts that `options.init` lacks keep their random weights.

    Raises
    ------
    InvalidArgument
        A part of `init` has another shape here, or no place.
    IoError, FormatError
        `init` cannot be read.
    """
    model = TAESRModel(options.resolved())
    if options.init is None:
        return model
    file = Path(options.init) / "model.safetensors"
    stored = core.load_weights(str(file))
    parameters = dict(model.named_parameters())
    for name, weight in stored.items():
        if name not in parameters:
            raise InvalidArgument(f"'{file}' has the weight '{name}', for which model.config leaves no place")
        if weight.shape != parameters[name].shape:
            raise InvalidArgument(
                f"weight '{name}' is {list(weight.shape)} in '{file}' and {list(parameters[name].shape)} by "
                "model.config"
            )
        parameters[name].data.copy_(weight)
    if model.config.sparse_head and "sparse.bias" not in stored:
        _calm_sparse_head(model)
    return model


@torch.no_grad()
def _calm_sparse_head(model: TAESRModel) -> None:
    """Begin with nearly empty sparse vectors: about one piece in thirty above zero.

    With unit gains over a trained token table nearly all pieces are, and scores of tens of thousands
    drown every other loss.
    """
    row_length = model.get_parameter("embeddings.token.weight").norm(dim=1).mean()
    model.get_parameter("sparse.norm.weight").fill_(0.35 / float(row_length))
    model.get_parameter("sparse.bias").fill_(-1.0)


def tokenizer_file(options: ModelOptions) -> Path:
    """Return the tokenizer.model of a run; raises IoError where it is missing."""
    folder = Path(core.default_model_path() if options.init is None else options.init)
    path = folder / "tokenizer.model" if options.tokenizer is None else Path(options.tokenizer)
    if not path.is_file():
        raise IoError(f"{path}: no such tokenizer; name one with model.tokenizer")
    return path


def check_vocabulary(model: TAESRModel, tokenizer: Path) -> None:
    """Refuse a tokenizer that the model's token table does not fit."""
    size = len(core.Tokenizer.load(tokenizer))
    if size != model.config.vocab_size:
        raise InvalidArgument(
            f"{tokenizer} has {size} pieces and the model a vocab_size of {model.config.vocab_size}; set "
            "model.config.vocab_size, or name another model.tokenizer"
        )


def freeze(model: nn.Module, prefixes: Sequence[str]) -> None:
    """Exclude parameters whose names begin with one of `prefixes` from training."""
    named = dict(model.named_parameters())
    for prefix in prefixes:
        chosen = [name for name in named if name.startswith(prefix)]
        if not chosen:
            parts = ", ".join(sorted({name.split(".")[0] for name in named}))
            raise InvalidArgument(
                f"freeze has '{prefix}', with which no parameter begins; there are: {parts}"
            )
        for name in chosen:
            named[name].requires_grad_(False)
    if not any(parameter.requires_grad for parameter in named.values()):
        raise InvalidArgument(f"freeze is {list(prefixes)} and leaves nothing to train")
