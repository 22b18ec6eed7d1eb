"""Heads over mean states: the depth router and the subspaces, differentiable."""

from typing import TYPE_CHECKING

import torch

from taesr._native import core
from taesr.errors import InvalidArgument
from taesr.nn.batch import PackedBatch

if TYPE_CHECKING:
    from taesr.nn.model import TAESRModel


def router_features(entry: torch.Tensor, batch: PackedBatch) -> torch.Tensor:
    """What the depth router reads: the mean entry state of each text, and the logarithm of its tokens.

    Parameters
    ----------
    entry
        Floating point [T, hidden_size]: states after the entry layers.
    batch
        The texts.

    Returns
    -------
    float32 [B, hidden_size + 1]
    """
    return core.router_features(entry, batch.layout)


def router_logits(model: "TAESRModel", features: torch.Tensor) -> torch.Tensor:
    """Scores of the depth classes easy, medium, hard: [B, 3] of features [B, hidden_size + 1].

    Raises InvalidArgument for a model without a router.
    """
    if model.config.router_size == 0:
        raise InvalidArgument("the model has no router (config field 'router_size')")
    names = ("hidden.weight", "hidden.bias", "out.weight", "out.bias")
    return core.router_logits(features, {name: model.get_parameter(f"router.{name}") for name in names})


def subspace_embedding(model: "TAESRModel", name: str, pooled: torch.Tensor) -> torch.Tensor:
    """Embeddings in a named subspace: float32 [B, dimensions], unit rows.

    Parameters
    ----------
    model
        With `name` in `config.subspaces`.
    pooled
        float32 [B, hidden_size]: mean states at the deepest depth, which subspaces are made for.

    Raises
    ------
    InvalidArgument
        The model has no such subspace.
    """
    if name not in model.config.subspaces:
        known = ", ".join(model.config.subspaces) or "none"
        raise InvalidArgument(f"the model has no subspace {name!r}; it has {known}")
    weight, bias = (model.get_parameter(f"subspace.{name}.{part}") for part in ("weight", "bias"))
    return core.dense_embedding(pooled, weight, bias)
