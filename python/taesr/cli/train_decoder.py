"""taesr train-decoder: up-train or fine-tune a decoder from a configuration file."""

import argparse

from taesr.cli import training_command


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    training_command.add_command(
        commands,
        "train-decoder",
        run,
        help="up-train or fine-tune a decoder from a configuration file",
        description="Trains a decoder on texts or conversations as a JSON file says: with layers shared and "
        "tokens routed, distilled from the model that it comes from. Keeps checkpoints, measures the loss on "
        "held-out texts, and leaves a model folder that taesr.Decoder loads.",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from taesr.training.decoder import DecoderTrainConfig, train_decoder

    return training_command.run(
        arguments,
        lambda overrides, **progress: train_decoder(
            DecoderTrainConfig.from_file(arguments.config, overrides=dict(overrides)), **progress
        ),
    )
