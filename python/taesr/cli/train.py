"""taesr train: train an encoder from a configuration file."""

import argparse
import os
from pathlib import Path

from taesr.cli import options
from taesr.cli.output import note, print_json
from taesr.cli.progress import Progress

_EPILOG = """The same command goes on from the newest checkpoint of the output folder. To end a run early,
lower its limit, as in --set schedule.steps=1: it is measured and exported as it stands. Several GPUs:
  torchrun --nproc-per-node 2 -m taesr train CONFIG.json
"""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "train",
        help="train an encoder from a configuration file",
        description="Distils teachers into an encoder as a JSON file says, keeps checkpoints, measures "
        "retrieval on the way, and leaves a model folder that every other command takes with --model.",
        epilog=_EPILOG,
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


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from taesr.training import TrainConfig, train

    overrides = dict(arguments.set)
    if arguments.resume is not None:
        overrides["checkpoints.resume"] = arguments.resume
    config = TrainConfig.from_file(arguments.config, overrides=overrides)
    with Progress() as progress:

        def say(line: str) -> None:
            progress.end_line()
            note(line)

        result = train(config, say=say, report=progress.update)
    if result.model is None:
        hint = f"the checkpoint {result.checkpoint} is kept, and the same command goes on from there"
        raise KeyboardInterrupt(hint)
    if int(os.environ.get("RANK", 0)) > 0:
        return 0  # under torchrun one process prints
    if arguments.json:
        print_json(
            {
                "model": str(result.model),
                "checkpoint": str(result.checkpoint),
                "steps": result.progress.step,
                "tokens": result.progress.tokens,
                "seconds": round(result.progress.seconds, 3),
                "evaluation": None if result.evaluation is None else result.evaluation.figures,
            }
        )
    else:
        print(result.model)
    return 0
