"""taesr train-slices: turn a model's space so that the leading values hold more of it."""

import argparse
from dataclasses import asdict

from taesr.cli import options
from taesr.cli.output import note, print_json
from taesr.cli.progress import Progress


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "train-slices",
        help="let the leading slices of a model's embeddings keep more of the whole",
        description="Fits a rotation of a model's embeddings with which each Matryoshka slice orders the "
        "passages near a query as the whole embedding does. Whole embeddings compare as before.",
        allow_abbrev=False,
    )
    options.add_head_training(parser)
    options.add_pool(parser)
    for name, what in (
        ("queries", "queries to draw (default: 20000)"),
        ("passages", "passages to draw (default: 20000)"),
        ("near", "nearest passages that slices learn to order (default: 256)"),
        ("steps", "training steps (default: 400)"),
    ):
        parser.add_argument(f"--{name}", type=options.positive, metavar="N", help=what)
    options.add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from taesr.training.slices import SliceOptions, train_slices

    with Progress() as progress:
        found = train_slices(
            arguments.model,
            arguments.pool,
            arguments.output,
            SliceOptions(**options.given(arguments, "queries", "passages", "near", "steps", "seed")),
            device=arguments.device,
            report=progress.update,
        )
    if arguments.json:
        print_json(asdict(found))
        return 0
    print("nDCG@10 of held-out queries' own passages, of the whole embedding's")
    whole = max(found.before)
    for dim in found.before:
        before, after = (figures[dim] / (figures[whole] or 1) for figures in (found.before, found.after))
        print(f"{dim:>5} values: {before:.1%} before, {after:.1%} after")
    note(f"wrote {arguments.output}")
    return 0
