"""taesr train: train an encoder from a configuration file."""

import argparse

from taesr.cli import training_command


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    training_command.add_command(
        commands,
        "train",
        run,
        help="train an encoder from a configuration file",
        description="Distils teachers into an encoder as a JSON file says, keeps checkpoints, measures "
        "retrieval on the way, and leaves a model folder that every other command takes with --model.",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from taesr.training import TrainConfig, train

    return training_command.run(
        arguments,
        lambda overrides, **progress: train(
            TrainConfig.from_file(arguments.config, overrides=dict(overrides)), **progress
        ),
    )
