"""The sparse and the late-interaction head over the states of a forward pass, differentiable."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import torch

from taesr._native import core
from taesr.errors import InvalidArgument

if TYPE_CHECKING:
    from taesr.nn.model import TAESRModel

_SPARSE = ("transform.weight", "transform.bias", "norm.weight", "norm.bias", "bias")


class Packed(Protocol):
    """The part of a packed batch that pooling needs."""

    @property
    def offsets(self) -> Sequence[int] | torch.Tensor: ...


def sparse_embedding(model: "TAESRModel", hidden: torch.Tensor, batch: Packed) -> torch.Tensor:
    """Weights of all vocabulary pieces in all texts (SPLADE, Formal et al. 2021, arXiv 2109.10086).

    The largest over a text's tokens of log(1 + relu(norm(gelu(transform h)) . row + bias)), with the
    rows of the token table. Works through tiles: [tokens, vocabulary] never exists.

    Parameters
    ----------
    model
        With `config.sparse_head`.
    hidden
        Floating point [T, hidden_size]: states of the last layer. The large products are in its dtype.
    batch
        With the borders of the texts in `offsets`, [B + 1].

    Returns
    -------
    float32 [B, vocab_size], not below zero. Once differentiable in the states and the parameters.

    Raises
    ------
    InvalidArgument
        The model has no sparse head, or shapes do not fit.
    """
    if not model.config.sparse_head:
        raise InvalidArgument("the model has no sparse head (config field 'sparse_head')")
    head = {name: model.get_parameter(f"sparse.{name}") for name in _SPARSE}
    table = model.get_parameter("embeddings.token.weight")
    offsets = batch.offsets.tolist() if isinstance(batch.offsets, torch.Tensor) else list(batch.offsets)
    return core.sparse_embedding(hidden, table, head, model.config.layer_norm_eps, offsets)


def late_embedding(model: "TAESRModel", hidden: torch.Tensor) -> torch.Tensor:
    """One vector for each token (ColBERT, Khattab and Zaharia 2020, arXiv 2004.12832).

    Parameters
    ----------
    model
        With `config.late_size` above zero.
    hidden
        Floating point [T, hidden_size]: states of the last layer.

    Returns
    -------
    float32 [T, late_size], unit rows. The encoder leaves out those of the special tokens at both ends
    of a text, so a loss should, too.

    Raises
    ------
    InvalidArgument
        The model has no late-interaction head, or shapes do not fit.
    """
    if model.config.late_size == 0:
        raise InvalidArgument("the model has no late-interaction head (config field 'late_size')")
    return core.late_embedding(hidden, model.get_parameter("late.weight"))
