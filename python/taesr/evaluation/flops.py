"""How much arithmetic an embedding takes, from the shape of the model, the tokens and the depth."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from taesr._native import core
from taesr.errors import InvalidArgument

_Floats = npt.NDArray[np.float64]
OUTPUTS = ("dense", "sparse", "late")
_FIELDS = (
    "hidden_size",
    "intermediate_size",
    "embedding_size",
    "vocab_size",
    "late_size",
    "max_position_embeddings",
    "entry_layers",
    "shared_layers",
    "refinement_layers",
    "exit_layers",
)


def text_flops(
    config: Any,
    token_counts: Sequence[int],
    depths: Sequence[int],
    *,
    windows: Sequence[int] | None = None,
    outputs: Collection[str] = ("dense",),
    active_share: Sequence[float] | None = None,
) -> _Floats:
    """Return the floating-point operations of each text; a multiplication and an addition count as two.

    The count of the engine's own budget, `taesr.Encoder.flops`, for any shape of model.

    Matrix products only: norms, activations, softmax and the routers are below one percent. With
    n tokens, hidden size h and inner size f, a layer takes ``8 n h^2 + 4 n h f`` for its products and
    ``4 n^2 h`` for attention. A pass of depth r applies ``entry_layers + r shared_layers +
    exit_layers`` layers, and the refinement layers when r > 1. Expert-choice token routing computes
    queries, keys, values and the MLP of ceil(capacity n) tokens in each recursion, against the keys of
    all n. Of token choice, where the share depends on the text, the upper bound is returned unless
    `active_share` says what was measured.

    Parameters
    ----------
    config : TAESRConfig
        Fields of parts that a model lacks may be missing.
    token_counts : sequence of int
        By text, without the two special tokens, which are added for every pass.
    depths : sequence of int
        Recursions, by text.
    windows : sequence of int, optional
        Passes, by text, as `taesr.Encoder` reports them: long texts are read in windows that
        overlap. Without it only one pass is counted, and what is beyond its end is not read.
    outputs : collection of str
        "dense" (2 h d), "sparse" (2 n h (h + vocabulary)) and "late" (2 n h late_size).
    active_share : sequence of float, optional
        Share of the tokens that recursion 1, 2, ... worked on, as `taesr.nn.DepthOutput` tells it; a
        mean over these texts. At least as many as the deepest text has recursions.

    Returns
    -------
    float64 array [texts]

    Raises
    ------
    InvalidArgument
        An output that does not exist, lists of different lengths, or too few shares.
    """
    unknown = set(outputs) - set(OUTPUTS)
    if unknown:
        raise InvalidArgument(f"output {sorted(unknown)[0]!r} is not one of {', '.join(OUTPUTS)}")
    passes = [1] * len(token_counts) if windows is None else windows
    if not len(token_counts) == len(depths) == len(passes):
        raise InvalidArgument(
            f"{len(token_counts)} token counts, {len(depths)} depths, {len(passes)} windows: one each a text"
        )
    shape = _shape(config)
    if active_share is not None:
        deepest = max(depths, default=0)
        if len(active_share) < deepest:
            raise InvalidArgument(f"active_share has {len(active_share)} values; allowed: at least {deepest}")
        shape.token_capacity = list(active_share)  # of each text, rounded up to whole tokens
    heads = {name: name in outputs for name in OUTPUTS}
    rows = zip(token_counts, passes, depths, strict=True)
    return np.array(
        [core.text_flops(shape, tokens, count, depth, **heads) for tokens, count, depth in rows],
        dtype=np.float64,
    )


def _shape(config: Any) -> core.ModelShape:
    shape = core.ModelShape()
    for name in _FIELDS:
        if hasattr(config, name):
            setattr(shape, name, getattr(config, name))
    if getattr(config, "token_routing", "none") == "expert_choice":
        shape.token_capacity = config.token_capacity
    return shape
