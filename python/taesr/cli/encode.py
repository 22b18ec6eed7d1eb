"""taesr encode: embeddings of the lines of standard input."""

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from taesr.cli import options
from taesr.cli.output import note
from taesr.cli.progress import Progress
from taesr.cli.vectors import open_writer
from taesr.errors import FormatError, IoError

_MAX_LINE_BYTES = 64 << 20
_SUFFIXES = (".npy", ".jsonl")


class Shard(NamedTuple):
    """Lines first, first + step, first + 2 step, ... of all, from 1."""

    first: int
    step: int


def register(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    parser = commands.add_parser(
        "encode",
        help="embed the lines of standard input",
        description="Embeds every line of standard input (UTF-8), however many there are. Prints a JSON "
        "object a line with embedding, depth, tokens and windows, or writes a file: F.npy (float32 "
        "[lines, dim], unit rows) or F.jsonl.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--role",
        choices=("query", "passage"),
        default="passage",
        help="what the texts are for (default: %(default)s)",
    )
    options.add_depth(parser)
    parser.add_argument(
        "--max-flops",
        type=_flops,
        metavar="N",
        help="operations that a line may take, as 5e9: each goes as deep as this pays for, up to --depth",
    )
    parser.add_argument(
        "--on-overflow",
        choices=("chunk", "truncate", "error"),
        default="chunk",
        help="for lines longer than one pass: average their windows, read the beginning, or stop "
        "(default: %(default)s)",
    )
    options.add_dim(parser)
    parser.add_argument("--output", type=_output, metavar="F", help="file to write, .npy or .jsonl")
    parser.add_argument(
        "--shard",
        type=_shard,
        default=Shard(1, 1),
        metavar="I/N",
        help="embed only lines I, I+N, I+2N, ..., so that N runs (1/N to N/N) share the work",
    )
    parser.add_argument(
        "--processes",
        type=options.positive,
        default=1,
        metavar="N",
        help="encode in N processes, each with the model in memory (default: %(default)s)",
    )
    options.add_model(parser)
    options.add_arithmetic(parser)
    options.add_device(parser)
    parser.set_defaults(run=run)


def _output(text: str) -> Path:
    if Path(text).suffix not in _SUFFIXES:
        raise argparse.ArgumentTypeError(f"{text!r} does not end with {' or '.join(_SUFFIXES)}")
    return Path(text)


def _flops(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a finite number above 0")
    return number


def _shard(text: str) -> Shard:
    match = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
    shard = Shard(int(match[1]), int(match[2])) if match else Shard(0, 0)
    if not 1 <= shard.first <= shard.step:
        raise argparse.ArgumentTypeError(f"{text!r} is not I/N with I from 1 to N, as 2/4")
    return shard


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    output: Path | None = arguments.output
    if output is not None and not output.absolute().parent.is_dir():
        raise IoError(f"{output}: its folder does not exist")
    if sys.stdin.isatty():
        note("reading lines from the terminal; end with Ctrl-D")
    import taesr

    encoder = taesr.Encoder.load(arguments.model, precision=arguments.arithmetic, device=arguments.device)
    count = overlong = truncated = 0
    with Progress() as progress, open_writer(output, arguments.dim or encoder.dimension) as writer:
        for encoded in encoder.encode_iter(
            _lines(sys.stdin.buffer, arguments.shard),
            role=arguments.role,
            depth=arguments.depth,
            dim=arguments.dim,
            on_overflow=arguments.on_overflow,
            max_flops=arguments.max_flops,
            processes=arguments.processes,
        ):
            writer.write(encoded)
            count += len(encoded.depths)
            overlong += sum(windows > 1 for windows in encoded.windows)
            truncated += encoded.truncated
            if output is not None:  # without a file, the lines on stdout show how far it is
                progress.update("encode", count, None)
    if overlong:
        note(f"{overlong} of {count} lines were longer than one pass; their windows were averaged")
    if truncated:
        note(f"{truncated} of {count} lines were longer than one pass; their ends were not read")
    if output is not None:
        print(f"{count} embeddings in {output}")
    return 0


def _lines(stream: BinaryIO, shard: Shard) -> Iterator[str]:
    """Yield the shard's lines; a line is what a newline ends. Lines of other shards need not be text."""
    number = 0
    while raw := stream.readline(_MAX_LINE_BYTES + 1):
        number += 1
        if len(raw) > _MAX_LINE_BYTES:
            raise FormatError(f"standard input, line {number}: longer than {_MAX_LINE_BYTES >> 20} MiB")
        if (number - shard.first) % shard.step == 0:
            yield _decode(raw, number)


def _decode(raw: bytes, number: int) -> str:
    try:
        text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        byte = raw[error.start]
        raise FormatError(
            f"standard input, line {number}: not valid UTF-8 (byte 0x{byte:02x} at column {error.start + 1})"
        ) from None
    return text.removesuffix("\n").removesuffix("\r")
