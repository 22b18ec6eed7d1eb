"""What embedding texts takes and gives."""

import dataclasses
from typing import Literal

import numpy as np
import numpy.typing as npt

from taesr.sparse import SparseRows

Role = Literal["query", "passage"]
Overflow = Literal["chunk", "truncate", "error"]
Output = Literal["dense", "sparse", "late"] | str  # or "subspace:NAME"


@dataclasses.dataclass(frozen=True)
class Encoded:
    """Embeddings and what it took to make them.

    Attributes
    ----------
    embeddings
        float32 [n, dim], unit rows; [0, 0] where "dense" was not asked for.
    depths
        Recursions used, by text; all windows of a long text take what the deepest of them needs (a
        deadline may lower some of them, and the least is reported).
    token_counts
        Tokens, by text, special ones not counted.
    windows
        Passes through the model, by text; above 1 for texts longer than one pass.
    truncated
        Texts whose end was not read (on_overflow="truncate" only).
    sparse
        Weights of vocabulary pieces, by text; None unless asked for.
    late
        float32 [tokens, late_size] by text, unit rows, special tokens left out; of texts longer than
        one pass window after window, so that tokens of two windows are there twice. None unless
        asked for.
    subspaces
        float32 [n, dimensions] by name, unit rows; empty unless asked for.
    router_probabilities
        float32 [n, 3]: how probably depth easy, medium or hard is the least that is enough, by the
        router; None where no router chose the depths.
    deadline_missed
        The work took longer than `deadline_ms`; complete it is all the same.
    """

    embeddings: npt.NDArray[np.float32]
    depths: list[int]
    token_counts: list[int]
    windows: list[int]
    truncated: int
    sparse: SparseRows | None = None
    late: list[npt.NDArray[np.float32]] | None = None
    subspaces: dict[str, npt.NDArray[np.float32]] = dataclasses.field(default_factory=dict)
    router_probabilities: npt.NDArray[np.float32] | None = None
    deadline_missed: bool = False


@dataclasses.dataclass(frozen=True)
class EncodeOptions:
    """How texts are embedded: the arguments of `Encoder.encode_full`, in its order."""

    outputs: tuple[Output, ...] = ("dense",)
    role: Role = "passage"
    depth: str | int = "auto"
    dim: int | None = None
    on_overflow: Overflow = "chunk"
    sparse_top: int = 256
    max_flops: float | None = None
    max_tokens: int | None = None
