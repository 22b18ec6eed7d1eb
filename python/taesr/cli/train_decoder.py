"""taesr train-decoder: up-train or fine-tune a decoder from a configuration file."""

import argparse

from taesr.cli import training_command

_EPILOG = """The same command goes on from the newest checkpoint of the output folder. To end a run early,
lower its limit, as in --set schedule.steps=1: it is measured and exported as it stands. Several GPUs:
  torchrun --nproc-per-node 2 -m taesr train-decoder CONFIG.json
"""


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "train-decoder",
        help="up-train or fine-tune a decoder from a configuration file",
        description="Trains a decoder on texts or conversations as a JSON file says: with layers shared and "
        "tokens routed, distilled from the model that it comes from. Keeps checkpoints, measures the loss on "
        "held-out texts, and leaves a model folder that taesr.Decoder loads.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    training_command.add_arguments(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from taesr.training.decoder import DecoderTrainConfig, train_decoder

    return training_command.run(
        arguments,
        lambda overrides, **progress: train_decoder(
            DecoderTrainConfig.from_file(arguments.config, overrides=dict(overrides)), **progress
        ),
    )
