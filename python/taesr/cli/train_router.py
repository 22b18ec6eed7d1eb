"""taesr train-router: give a model the router behind depth auto."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from taesr.cli import options
from taesr.cli.output import note, print_json
from taesr.cli.progress import Progress

if TYPE_CHECKING:
    from taesr.training.router import RouterReport


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "train-router",
        help="teach a model how deep to read a text",
        description="Labels texts of a pool with the smallest depth that finds what the deepest does, trains "
        "a router that guesses it from the states after the entry layers, and chooses its confidence on "
        "held-out texts. The model's other weights stay as they are.",
        allow_abbrev=False,
    )
    options.add_head_training(parser)
    options.add_pool(parser)
    parser.add_argument(
        "--queries", type=options.positive, metavar="N", help="queries to draw (default: 6000)"
    )
    parser.add_argument(
        "--passages", type=options.positive, metavar="N", help="passages to draw (default: 30000)"
    )
    parser.add_argument(
        "--retention",
        type=float,
        metavar="S",
        help="share of the deepest depth's quality to keep on held-out queries (default: 0.99)",
    )
    parser.add_argument(
        "--mean-depth",
        type=float,
        metavar="R",
        help="instead of --retention: recursions that held-out texts take at most on average",
    )
    parser.add_argument(
        "--overlap",
        type=float,
        metavar="S",
        help="share of the nearest ten passages that makes a depth enough for a text (default: 0.9)",
    )
    parser.add_argument(
        "--deep-passages",
        action="store_true",
        help="choose the confidence for an index of the deepest depth (default: passages are routed too)",
    )
    parser.add_argument("--size", type=options.positive, metavar="N", help="hidden units (default: 64)")
    parser.add_argument("--steps", type=options.positive, metavar="N", help="training steps (default: 800)")
    parser.add_argument(
        "--eval",
        nargs="+",
        type=Path,
        default=[],
        metavar="BEIR_DIR",
        help="measure the curve of quality against mean depth on these sets, beside a random router",
    )
    options.add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from taesr.training.router import RouterOptions, train_router

    given = options.given(
        arguments, "queries", "passages", "retention", "mean_depth", "overlap", "size", "steps", "seed"
    )
    chosen = RouterOptions(**given, route_passages=not arguments.deep_passages)
    datasets = []
    if arguments.eval:
        from taesr.evaluation import load_beir

        datasets = [
            load_beir(folder) for folder in arguments.eval
        ]  # first: a wrong folder should fail at once
    with Progress() as progress:
        found = train_router(
            arguments.model,
            arguments.pool,
            arguments.output,
            chosen,
            device=arguments.device,
            report=progress.update,
        )
        curves = []
        if datasets:
            from taesr import Encoder
            from taesr.training.router_report import router_report

            curves = router_report(
                datasets,
                Encoder.load(arguments.output, device=arguments.device or "cpu"),
                progress=progress.update,
            )
    if arguments.json:
        print_json({"held_out": asdict(found), "curves": {curve.name: curve.to_dict() for curve in curves}})
        return 0
    _print(found)
    for curve in curves:
        print(f"\n{curve.to_markdown()}")
    note(f"wrote {arguments.output}")
    return 0


def _print(found: "RouterReport") -> None:
    point = found.chosen
    shares = ", ".join(f"{name} {share:.1%}" for name, share in found.labels.items())
    print(f"oracle depths of the labelled texts: {shares}")
    print(f"accuracy on held-out texts: {found.accuracy:.1%} (most frequent class: {found.majority:.1%})")
    print(
        f"confidence {point.confidence}: mean depth {point.query_depth:.2f} of queries and "
        f"{point.passage_depth:.2f} of passages, keeps "
        f"{point.retention:.2%} of the deepest depth's {found.measure}"
    )
