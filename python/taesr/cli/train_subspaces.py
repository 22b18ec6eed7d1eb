"""taesr train-subspaces: give a model embeddings for time, procedure, context and meaning."""

import argparse
from dataclasses import asdict
from pathlib import Path

from taesr.cli import options
from taesr.cli.output import note, print_json
from taesr.cli.progress import Progress


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "train-subspaces",
        help="give a model subspaces: semantic, temporal, procedural, contextual",
        description="Trains small heads over the model's states and measures each on held-out data beside a "
        "slice of the dense embedding that is as long. The model's other weights stay as they are.",
        allow_abbrev=False,
    )
    options.add_head_training(parser)
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="folder of NAME.train.jsonl and NAME.heldout.jsonl (temporal, procedural, contextual)",
    )
    parser.add_argument(
        "--size",
        type=_size,
        nargs="+",
        default=[],
        metavar="NAME=N",
        help="dimensions of the subspaces to train (default: 64 of each)",
    )
    parser.add_argument(
        "--limit", type=options.positive, metavar="N", help="lines of each file (default: 50000)"
    )
    parser.add_argument("--steps", type=options.positive, metavar="N", help="training steps (default: 800)")
    options.add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from taesr.training.subspaces import SubspaceOptions, probes_won, train_subspaces

    given = options.given(arguments, "limit", "steps", "seed")
    if arguments.size:
        given["sizes"] = dict(arguments.size)
    chosen = SubspaceOptions(**given)
    with Progress() as progress:
        found = train_subspaces(
            arguments.model,
            arguments.data,
            arguments.output,
            chosen,
            device=arguments.device,
            report=progress.update,
        )
    if arguments.json:
        print_json({"losses": found.losses, "probes": [asdict(probe) for probe in found.probes]})
        return 0
    print("| subspace | probe on held-out data | subspace | dense, as long | chance | items |")
    print("|---|---|---|---|---|---|")
    for probe in found.probes:
        print(
            f"| {probe.subspace} | {probe.probe} | {probe.score:.1%} | {probe.dense:.1%} | "
            f"{probe.chance:.1%} | {probe.items} |"
        )
    lost = [name for name, won in probes_won(found.probes).items() if not won]
    if lost:
        note(f"no better than the dense embedding on some probe: {', '.join(lost)}")
    note(f"wrote {arguments.output}")
    return 0


def _size(text: str) -> tuple[str, int]:
    name, value = options.key_value(text)
    return name, options.positive(value)
