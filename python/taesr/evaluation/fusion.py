"""One score from several heads."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from taesr._native import core
from taesr.errors import InvalidArgument
from taesr.evaluation.exact import Floats

if TYPE_CHECKING:
    from taesr.config import TAESRConfig

Head = Literal["dense", "sparse", "sparse-idf", "late"]
HEADS: tuple[Head, ...] = ("dense", "sparse", "sparse-idf", "late")
METHODS = ("minmax", "rrf", "weighted")


@dataclass(frozen=True)
class FusionOptions:
    """How the heads' scores become one.

    Attributes
    ----------
    weights : mapping
        Head to weight, above zero; heads that are not named take no part. "sparse-idf" is the sparse
        head with queries that are made without an encoder.
    method : str
        "minmax": weighted sum of the scores, for each query scaled to 0 to 1 over its candidates.
        "rrf": weighted sum of 1 / (rrf_k + rank) (Cormack et al. 2009).
        "weighted": weighted sum of the scores, for each query less their mean and divided by their
        standard deviation, as `taesr.Collection.search` fuses them.
    candidates : int
        Of each of the dense and the sparse heads; all heads then score the union exactly.
    rrf_k : int
    """

    weights: Mapping[Head, float] = field(
        default_factory=lambda: {"dense": 1.0, "sparse-idf": 1.0, "late": 1.0}
    )
    method: str = "minmax"
    candidates: int = 200
    rrf_k: int = 60

    def __post_init__(self) -> None:
        if not self.weights:
            raise InvalidArgument(f"no head has a weight; heads: {', '.join(HEADS)}")
        for head, weight in self.weights.items():
            if head not in HEADS:
                raise InvalidArgument(f"head {head!r} is not one of {', '.join(HEADS)}")
            if not (weight > 0 and math.isfinite(weight)):
                raise InvalidArgument(
                    f"the weight of head {head!r} is {weight}; it must be above 0 and finite"
                )
        if self.method not in METHODS:
            raise InvalidArgument(f"fusion {self.method!r} is not one of {', '.join(METHODS)}")
        for name in ("candidates", "rrf_k"):
            if getattr(self, name) < 1:
                raise InvalidArgument(f"{name} is {getattr(self, name)}; it must be at least 1")


def model_weights(config: "TAESRConfig") -> dict[Head, float]:
    """Equal weights of the three heads, the sparse one with queries as the model's searches make them."""
    return {"dense": 1.0, "sparse-idf" if config.sparse_queries == "table" else "sparse": 1.0, "late": 1.0}


def fuse(scores: Mapping[Head, Floats], options: FusionOptions) -> Floats:
    """Fuse scores [n] of one query's candidates, by head, to float32 [n]; larger is better."""
    if options.method == "minmax":
        fused = sum(np.float32(options.weights[head]) * _scaled(values) for head, values in scores.items())
        return np.asarray(fused, dtype=np.float32)
    lists = []
    for head, values in scores.items():
        order = np.argsort(-values, kind="stable")  # equal scores in the order of the candidates
        lists.append((head, (order, values[order])))
    weights: dict[str, float] = {head: float(weight) for head, weight in options.weights.items()}
    ids, values, _ = core.fuse(lists, method=options.method, weights=weights, rrf_k=options.rrf_k)
    result = np.empty(len(ids), dtype=np.float32)
    result[ids] = values
    return result


def _scaled(scores: Floats) -> Floats:
    """To 0 to 1; scores that are all the same say nothing and become 0."""
    if len(scores) == 0:
        return scores
    low, high = scores.min(), scores.max()
    return np.zeros_like(scores) if high == low else (scores - low) / (high - low)
