"""taesr train: train an encoder from a configuration file."""

import argparse

from taesr.cli import training_command

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
    training_command.add_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from taesr.training import TrainConfig, train

    return training_command.run(
        arguments,
        lambda overrides, **progress: train(
            TrainConfig.from_file(arguments.config, overrides=dict(overrides)), **progress
        ),
    )
