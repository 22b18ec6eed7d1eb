"""taesr quantise-decoder: a trained decoder in 4 or 8 bits a weight."""

import argparse
from dataclasses import asdict
from pathlib import Path

from taesr.cli import options
from taesr.cli.output import note, print_json
from taesr.cli.progress import Progress


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "quantise-decoder",
        help="write a trained decoder as a small GGUF file",
        description="Rounds the matrices of a decoder's layers to 4 or 8 bits by GPTQ: what one weight "
        "loses, others make up for as far as they can on texts like the calibration's, so that answers "
        "suffer less than by rounding each weight to the nearest value.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "model", type=Path, metavar="MODEL", help="folder that taesr train-decoder left, or GGUF file"
    )
    parser.add_argument(
        "--calibration",
        type=Path,
        required=True,
        metavar="FILE",
        help='lines {"messages": [...]} or {"text": ...}, such as the model was trained on; also .gz and .xz',
    )
    parser.add_argument("--output", type=Path, required=True, metavar="FILE", help="GGUF file to write")
    parser.add_argument(
        "--tokenizer", type=Path, metavar="GGUF", help="file whose tokenizer is taken; needed with a folder"
    )
    parser.add_argument(
        "--precision",
        choices=("q4_1", "q4_0", "q8_0"),
        default="q4_1",
        help="5, 4.5 or 8.5 bits a weight (default: %(default)s)",
    )
    parser.add_argument(
        "--count", type=options.positive, metavar="N", help="texts to calibrate on (default: 110)"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="of the texts that are drawn (default: 0)")
    options.add_json(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from taesr.training.decoder import QuantiseOptions, quantise_decoder

    with Progress() as progress:
        made = quantise_decoder(
            arguments.model,
            arguments.calibration,
            arguments.output,
            QuantiseOptions(**options.given(arguments, "precision", "count", "seed")),
            tokenizer=arguments.tokenizer,
            report=progress.update,
        )
    if arguments.json:
        print_json(asdict(made) | {"path": str(made.path)})
        return 0
    print(
        f"squared error of the layers' products on {made.texts} texts ({made.tokens:,} tokens): "
        f"{made.error:.2%}; rounded to nearest {made.nearest_error:.2%}"
    )
    note(f"wrote {made.path}")
    return 0
