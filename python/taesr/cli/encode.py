"""taesr encode: embeddings of the lines of standard input."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from taesr.cli import opening, options
from taesr.cli.output import note
from taesr.cli.progress import Progress
from taesr.cli.vectors import open_writer
from taesr.errors import FormatError, IoError

# Small enough that Ctrl-C is heard soon: a batch is one call into the library.
_BATCH_LINES = 256
_BATCH_BYTES = 256 << 10
_MAX_LINE_BYTES = 64 << 20
_SUFFIXES = (".npy", ".jsonl")


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "encode",
        help="embed the lines of standard input",
        description="Embeds every line of standard input (UTF-8). Prints a JSON object a line with "
        "embedding, depth and tokens, or writes a file: F.npy (float32 [lines, dim], unit rows) or F.jsonl.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--role",
        choices=("query", "passage"),
        default="passage",
        help="what the texts are for (default: %(default)s)",
    )
    options.add_depth(parser)
    options.add_dim(parser)
    parser.add_argument("--output", type=_output, metavar="F", help="file to write, .npy or .jsonl")
    options.add_model(parser)
    parser.set_defaults(run=run)


def _output(text: str) -> Path:
    if Path(text).suffix not in _SUFFIXES:
        raise argparse.ArgumentTypeError(f"{text!r} does not end with {' or '.join(_SUFFIXES)}")
    return Path(text)


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    output: Path | None = arguments.output
    if output is not None and not output.absolute().parent.is_dir():
        raise IoError(f"{output}: its folder does not exist")
    if sys.stdin.isatty():
        note("reading lines from the terminal; end with Ctrl-D")
    import taesr

    encoder = opening.load_encoder(arguments.model) or taesr.Encoder.load()
    count = 0
    with Progress() as progress, open_writer(output, arguments.dim or encoder.dimension) as writer:
        for lines in _batches(sys.stdin.buffer):
            encoded = encoder.encode_detailed(
                lines, role=arguments.role, depth=arguments.depth, dim=arguments.dim
            )
            writer.write(encoded)
            count += len(lines)
            if output is not None:  # without a file, the lines on stdout show how far it is
                progress.update("encode", count, None)
    if output is not None:
        print(f"{count} embeddings in {output}")
    return 0


def _batches(stream: BinaryIO) -> Iterator[list[str]]:
    """Yield lines in batches bounded in number and size; a line is what a newline ends."""
    batch: list[str] = []
    size = 0
    number = 0
    while raw := stream.readline(_MAX_LINE_BYTES + 1):
        number += 1
        if len(raw) > _MAX_LINE_BYTES:
            raise FormatError(f"standard input, line {number}: longer than {_MAX_LINE_BYTES >> 20} MiB")
        batch.append(_decode(raw, number))
        size += len(raw)
        if len(batch) == _BATCH_LINES or size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _decode(raw: bytes, number: int) -> str:
    try:
        text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        byte = raw[error.start]
        raise FormatError(
            f"standard input, line {number}: not valid UTF-8 (byte 0x{byte:02x} at column {error.start + 1})"
        ) from None
    return text.removesuffix("\n").removesuffix("\r")
