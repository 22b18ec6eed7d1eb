"""taesr eval --ablation: depth x slice x precision x router in one run."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from taesr.cli import options
from taesr.cli.output import note, print_json
from taesr.cli.progress import Progress
from taesr.errors import InvalidArgument

if TYPE_CHECKING:
    import taesr
    from taesr import evaluation

_T = TypeVar("_T")
_PRECISIONS = ("float32", "int8", "binary")
# Attribute -> how it is written; each needs --ablation.
_OWN = {
    "depths": "--depths",
    "dims": "--dims",
    "precisions": "--precisions",
    "router": "--router",
    "passage_depth": "--passage-depth",
    "no_plots": "--no-plots",
}
_REPLACED = {"mode": "dense", "depth": "hard", "dim": None, "precision": "float32"}


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the ablation."""
    group = parser.add_argument_group(
        "ablation", "Measures every combination; texts are encoded once for each depth and sliced afterwards."
    )
    group.add_argument(
        "--ablation", type=Path, metavar="OUT_DIR", help="write ablation.json, ablation.md and plots there"
    )
    group.add_argument(
        "--depths", type=_numbers, metavar="N,N", help="recursions (default: those that the model names)"
    )
    group.add_argument("--dims", type=_numbers, metavar="N,N", help="slices (default: the model's)")
    group.add_argument(
        "--precisions", type=_precisions, metavar="P,P", help="float32, int8, binary (default: float32)"
    )
    group.add_argument(
        "--router", action="store_true", help="measure depth auto too, beside a random router of equal depth"
    )
    group.add_argument(
        "--passage-depth",
        type=options.positive,
        metavar="N",
        help="recursions of the documents in every row (default: those of the queries)",
    )
    group.add_argument("--no-plots", action="store_true", help="write the tables only; needs no matplotlib")


def check(arguments: argparse.Namespace) -> None:
    """Refuse options that would have no effect."""
    if arguments.ablation is None:
        for name, option in _OWN.items():
            if getattr(arguments, name):
                raise InvalidArgument(f"{option} is for --ablation OUT_DIR only")
        return
    for name, default in _REPLACED.items():
        if getattr(arguments, name) != default:
            option = f"--{name}" + ("s" if name != "mode" else "")
            remedy = "ablations measure dense search" if name == "mode" else f"use {option}"
            raise InvalidArgument(f"--{name} has no effect with --ablation; {remedy}")
    if not arguments.no_plots:
        from taesr.evaluation.plots import require_matplotlib

        require_matplotlib()


def run(
    arguments: argparse.Namespace,
    datasets: "Sequence[evaluation.RetrievalDataset]",
    encoder: "taesr.Encoder",
) -> int:
    """Measure, write the files and print the tables."""
    from taesr.evaluation.ablation import AblationOptions, run_ablation
    from taesr.evaluation.ablation_report import AblationReport

    asked = AblationOptions(
        depths=arguments.depths,
        dims=arguments.dims,
        precisions=arguments.precisions or ("float32",),
        router=arguments.router,
        passage_depth=arguments.passage_depth,
        on_overflow=arguments.long_texts,
        max_tokens=arguments.max_tokens,
    )
    with Progress() as progress:
        ablation = run_ablation(datasets, encoder, asked, progress=progress.update)
    report = AblationReport(
        ablation,
        {
            "split": arguments.split,
            "model": str(encoder.source),
            "fingerprint": encoder.fingerprint,
            "arithmetic": encoder.precision,
        },
    )
    written = report.write(arguments.ablation, plots=not arguments.no_plots)
    if arguments.json:
        print_json(report.to_dict())
    else:
        print(report.to_markdown())
        note(f"wrote {', '.join(str(path) for path in written)}")
    return 0


def _numbers(text: str) -> list[int]:
    return _each_once(text, [options.positive(part.strip()) for part in text.split(",")])


def _precisions(text: str) -> list[str]:
    parts = [part.strip() for part in text.split(",")]
    for part in parts:
        if part not in _PRECISIONS:
            raise argparse.ArgumentTypeError(f"{part!r} is not one of {', '.join(_PRECISIONS)}")
    return _each_once(text, parts)


def _each_once(text: str, parts: list[_T]) -> list[_T]:
    if len(set(parts)) < len(parts):
        raise argparse.ArgumentTypeError(f"{text!r} names one value twice")
    return parts
