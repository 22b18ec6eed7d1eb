"""What the commands that train from a configuration file share."""

import argparse
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from taesr.cli import options
from taesr.cli.output import note, print_json
from taesr.cli.progress import Progress

if TYPE_CHECKING:
    from taesr.training import TrainResult


_EPILOG = """The same command goes on from the newest checkpoint of the output folder. To end a run early,
lower its limit, as in --set schedule.steps=1: it is measured and exported as it stands. Several GPUs:
  torchrun --nproc-per-node 2 -m taesr {name} CONFIG.json
"""


class Train(Protocol):
    """A training: the overridden fields in, its result out."""

    def __call__(
        self,
        overrides: Mapping[str, str],
        *,
        say: Callable[[str], None],
        report: Callable[[str, int, int | None], None],
    ) -> "TrainResult": ...


def add_command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    run: Callable[[argparse.Namespace], int],
    *,
    help: str,  # noqa: A002 - argparse names it so
    description: str,
) -> None:
    """Add a command with CONFIG.json, --set, --resume and --json."""
    parser = commands.add_parser(
        name,
        help=help,
        description=description,
        epilog=_EPILOG.format(name=name),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("config", type=Path, metavar="CONFIG.json", help="what to train")
    parser.add_argument(
        "--set",
        action="append",
        type=options.key_value,
        default=[],
        metavar="KEY=VALUE",
        help="replace a field of the configuration, as in --set optimizer.lr=3e-4; may be repeated",
    )
    parser.add_argument(
        "--resume",
        metavar="WHAT",
        help="auto: go on from the newest checkpoint, where there is one; off: begin; or the path of a "
        "checkpoint (default: what the configuration says)",
    )
    options.add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, train: Train) -> int:
    """Train, with progress, and print what came out."""
    overrides = dict(arguments.set)
    if arguments.resume is not None:
        overrides["checkpoints.resume"] = arguments.resume
    with Progress() as progress:

        def say(line: str) -> None:
            progress.end_line()
            note(line)

        result = train(overrides, say=say, report=progress.update)
    if result.model is None:
        hint = f"the checkpoint {result.checkpoint} is kept, and the same command goes on from there"
        raise KeyboardInterrupt(hint)
    if int(os.environ.get("RANK", 0)) > 0:
        return 0  # under torchrun one process prints
    if arguments.json:
        found: dict[str, Any] = {
            "model": str(result.model),
            "checkpoint": str(result.checkpoint),
            "steps": result.progress.step,
            "tokens": result.progress.tokens,
            "seconds": round(result.progress.seconds, 3),
            "evaluation": None if result.evaluation is None else result.evaluation.figures,
        }
        print_json(found)
    else:
        print(result.model)
    return 0
