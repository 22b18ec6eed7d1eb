"""Options that several commands share, and the checks of their values.

A value that can be wrong whatever the model (a negative number, an unknown word) is wrong usage and
ends with exit code 2; what depends on the model or the collection is checked by the library.
"""

import argparse
import math
from pathlib import Path
from typing import Any

DEPTHS = ("easy", "medium", "hard", "auto")


def positive(text: str) -> int:
    """Parse a whole number from 1 on."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return number


def port(text: str) -> int:
    """Parse a TCP port that a user may listen on."""
    number = positive(text)
    if number > 65535:
        raise argparse.ArgumentTypeError(f"{number} is not a port (1 to 65535)")
    return number


def depth(text: str) -> str | int:
    """Parse a depth: one of its names, or a number of recursions."""
    if text in DEPTHS:
        return text
    try:
        return positive(text)
    except argparse.ArgumentTypeError:
        names = ", ".join(DEPTHS)
        raise argparse.ArgumentTypeError(f"{text!r} is not one of {names} or a number from 1 on") from None


def words(text: str) -> str:
    """Parse a query or question, which must not be blank."""
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty")
    return text


def count(text: str) -> int:
    """Parse a whole number from 0 on."""
    return 0 if text.strip() == "0" else positive(text)


def seconds(text: str) -> float:
    """Parse a time above 0, in seconds."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0, up to 3600")
    return number


def share(text: str) -> float:
    """Parse a number from 0 to 1."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return number


def weights(text: str) -> dict[str, float] | Path:
    """Parse HEAD=W,... (each head once, weights from 0 on), or take the text as a file's path."""
    if "=" not in text or Path(text).exists():
        return Path(text)
    read: dict[str, float] = {}
    for part in text.split(","):
        head, _, number = part.partition("=")
        try:
            weight = float(number)
        except ValueError:
            weight = math.nan
        if not head or head in read or not 0 <= weight < math.inf:
            raise argparse.ArgumentTypeError(f"{text!r} is not like dense=0.6,keyword=0.4, each head once")
        read[head] = weight
    return read


def heads(text: str) -> list[str]:
    """Parse the names of heads, separated by commas, each once."""
    names = [name.strip() for name in text.split(",")]
    known = ("dense", "keyword", "sparse", "late")
    if len(set(names)) < len(names) or not set(names) <= set(known):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list such as sparse,late of {', '.join(known)}")
    return names


def key_value(text: str) -> tuple[str, str]:
    """Parse KEY=VALUE; the value may be empty and may hold further equals signs."""
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def add_collection(parser: argparse.ArgumentParser) -> None:
    """Add --collection."""
    parser.add_argument(
        "--collection", type=Path, required=True, metavar="DIR", help="folder of the collection"
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add --json."""
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add --model."""
    parser.add_argument(
        "--model", type=Path, metavar="DIR", help="folder of the model (default: the bundled one)"
    )


def add_head_training(parser: argparse.ArgumentParser) -> None:
    """Add what all commands take that fit a part of a finished model: MODEL, --output, --seed, --device."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="model folder")
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="model folder to write")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of all that is drawn (default: 0)")
    parser.add_argument(
        "--device", metavar="D", help="cpu, cuda or cuda:N (default: the GPU if there is one)"
    )


def add_pool(parser: argparse.ArgumentParser) -> None:
    """Add --pool."""
    parser.add_argument(
        "--pool", nargs="+", type=Path, required=True, metavar="FILE", help="text pool, as of taesr train"
    )


def given(arguments: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Values of the options of these names that were given; the others keep the library's defaults."""
    values = {name: getattr(arguments, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def add_questions(parser: argparse.ArgumentParser) -> None:
    """Add the file of questions, as `taesr.evaluation.squad` reads it."""
    parser.add_argument(
        "questions",
        type=Path,
        metavar="FILE",
        help='a paragraph a line: {"title", "context", "qas"}; .xz, .gz',
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add --device."""
    parser.add_argument(
        "--device",
        default="cpu",
        metavar="D",
        help="that encodes: cpu, or cuda or cuda:N in a build with TAESR_CUDA=ON (default: %(default)s)",
    )


def add_arithmetic(parser: argparse.ArgumentParser) -> None:
    """Add --arithmetic."""
    parser.add_argument(
        "--arithmetic",
        choices=("auto", "float32", "bfloat16", "int8"),
        default="auto",
        help="of the encoder's matrix products; auto: bfloat16 where the processor multiplies it, else "
        "float32 (default: %(default)s)",
    )


def add_depth(parser: argparse.ArgumentParser, *, default: str = "auto") -> None:
    """Add --depth."""
    parser.add_argument(
        "--depth",
        type=depth,
        default=default,
        metavar="D",
        help="recursions of the encoder: easy, medium, hard, auto or a number (default: %(default)s)",
    )


def add_dim(parser: argparse.ArgumentParser) -> None:
    """Add --dim."""
    parser.add_argument(
        "--dim", type=positive, metavar="N", help="use the first N values of embeddings (default: all)"
    )
