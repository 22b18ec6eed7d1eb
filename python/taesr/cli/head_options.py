"""Options of taesr eval for the sparse, late-interaction and hybrid modes."""

import argparse
from typing import TYPE_CHECKING, Any

from taesr.errors import InvalidArgument

if TYPE_CHECKING:
    from taesr.config import TAESRConfig
    from taesr.evaluation import FusionOptions

MODES = ("sparse", "sparse-idf", "late", "hybrid")


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    group = parser.add_argument_group("hybrid mode")
    group.add_argument(
        "--head-weights",
        type=_weights,
        metavar="HEAD=W,...",
        help="heads that take part (dense, sparse or sparse-idf, late) and their weights "
        "(default: 1 each, sparse-idf where the model's searches take queries from the table)",
    )
    group.add_argument(
        "--fusion",
        choices=("minmax", "rrf", "weighted"),
        help="add scores scaled to 0 to 1 for each query, reciprocal ranks, or scores divided by their "
        "standard deviation (default: minmax)",
    )
    group.add_argument(
        "--candidates",
        type=int,
        metavar="N",
        help="of the dense and of the sparse head, for all heads to score; in late mode, too (default: 200)",
    )


def check(arguments: argparse.Namespace) -> None:
    """Refuse options that the mode does not have."""
    allowed = {"hybrid": ("head_weights", "fusion", "candidates"), "late": ("candidates",)}
    for name in ("head_weights", "fusion", "candidates"):
        if getattr(arguments, name) is not None and name not in allowed.get(arguments.mode, ()):
            modes = "hybrid and late" if name == "candidates" else "hybrid"
            raise InvalidArgument(f"--{name.replace('_', '-')} is for --mode {modes} only")
    if arguments.mode in MODES:
        fusion_of(arguments)


def fusion_of(arguments: argparse.Namespace, config: "TAESRConfig | None" = None) -> "FusionOptions":
    """Return the options as the library has them; weights that are not given are those of a model."""
    from taesr.evaluation import FusionOptions
    from taesr.evaluation.fusion import model_weights

    given = {
        "weights": arguments.head_weights or (model_weights(config) if config else None),
        "method": arguments.fusion,
        "candidates": arguments.candidates,
    }
    return FusionOptions(**{name: value for name, value in given.items() if value is not None})


def settings(arguments: argparse.Namespace, config: "TAESRConfig") -> dict[str, Any]:
    """Return what a reader needs to repeat the figures of this mode."""
    if arguments.mode not in ("late", "hybrid"):
        return {}
    fusion = fusion_of(arguments, config)
    if arguments.mode == "late":
        return {"candidates": fusion.candidates}
    return {"candidates": fusion.candidates, "fusion": fusion.method, "head_weights": dict(fusion.weights)}


def _weights(text: str) -> dict[str, float]:
    weights: dict[str, float] = {}
    for part in text.split(","):
        head, separator, number = part.partition("=")
        try:
            weight = float(number)
        except ValueError:
            weight = float("nan")
        if not separator or head in weights or weight != weight:
            raise argparse.ArgumentTypeError(f"{text!r} is not like dense=1,sparse=0.5, each head once")
        weights[head] = weight
    return weights
