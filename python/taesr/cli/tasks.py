"""taesr eval --sts and --classification: what embeddings know beside retrieval."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from taesr.errors import InvalidArgument

if TYPE_CHECKING:
    import taesr

Tasks = dict[str, dict[str, dict[str, float]]]


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the tasks."""
    group = parser.add_argument_group(
        "other tasks", "Texts are encoded as queries, the role for short texts."
    )
    group.add_argument(
        "--sts",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="sentence pairs with scores (STS Benchmark, or columns sentence1, sentence2, score): rank "
        "correlation of the cosines; may be given again",
    )
    group.add_argument(
        "--classification",
        type=Path,
        nargs=2,
        action="append",
        default=[],
        metavar=("TRAIN", "TEST"),
        help="comma-separated files with the columns text and category: logistic regression on the "
        "embeddings; may be given again",
    )


def asked(arguments: argparse.Namespace) -> bool:
    """Tell whether there is a task to run."""
    return bool(arguments.sts or arguments.classification)


def check(arguments: argparse.Namespace) -> None:
    """Read every file and refuse options that have no effect: errors should come before long work."""
    if not asked(arguments):
        return
    if arguments.ablation is not None:
        raise InvalidArgument("--sts and --classification have no effect with --ablation; run them apart")
    from taesr.evaluation import load_labelled, load_sts

    for path in _named(arguments.sts).values():
        load_sts(path)
    _named([test for _, test in arguments.classification])
    for pair in arguments.classification:
        for path in pair:
            load_labelled(path)


def run(arguments: argparse.Namespace, encoder: "taesr.Encoder") -> Tasks:
    """Return ``{"sts": {name: {measure: value}}, "classification": ...}`` without what was not asked for."""
    from taesr.evaluation import evaluate_classification, evaluate_sts, load_labelled, load_sts

    size = {"depth": arguments.depth, "dim": arguments.dim}
    found: Tasks = {}
    if arguments.sts:
        found["sts"] = {
            name: evaluate_sts(encoder, load_sts(path), **size)
            for name, path in _named(arguments.sts).items()
        }
    if arguments.classification:
        tests = _named([test for _, test in arguments.classification])
        trains = [train for train, _ in arguments.classification]
        found["classification"] = {
            name: evaluate_classification(encoder, load_labelled(train), load_labelled(test), **size)
            for (name, test), train in zip(tests.items(), trains, strict=True)
        }
    return found


def to_text(tasks: Tasks) -> str:
    """Return a line for each result, in percent."""
    return "\n".join(
        f"{task} {name}: " + ", ".join(f"{measure} {100 * value:.1f}" for measure, value in values.items())
        for task, results in tasks.items()
        for name, values in results.items()
    )


def _named(paths: list[Path]) -> dict[str, Path]:
    """Name files by their paths as given; names have to differ."""
    named = {str(path): path for path in paths}
    if len(named) < len(paths):
        raise InvalidArgument("a file is given twice")
    return named
