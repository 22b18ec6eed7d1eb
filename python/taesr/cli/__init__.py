"""The command line. Nothing here loads PyTorch until a command needs it, so help and errors are quick."""

import argparse
import os
import sys
import traceback
from collections.abc import Sequence

from taesr.cli import (
    app,
    ask,
    build_answers,
    chat,
    collection,
    doctor,
    encode,
    eval_answers,
    evaluate,
    info,
    ingest,
    quantise_decoder,
    search,
    tokenizers,
    train,
    train_decoder,
    train_router,
    train_slices,
    train_subspaces,
)
from taesr.cli.output import describe, note, use_utf8

_COMMANDS = (
    ingest,
    search,
    ask,
    chat,
    app,
    collection,
    encode,
    evaluate,
    eval_answers,
    train,
    train_decoder,
    quantise_decoder,
    train_router,
    train_slices,
    train_subspaces,
    build_answers,
    tokenizers,
    info,
    doctor,
)
_EXAMPLES = """examples:
  taesr ingest docs/ --collection kb
  taesr ask "how do I reset my password" --collection kb
  taesr search "reset password" --collection kb -k 5 --mode hybrid --json
  taesr encode --role query --output queries.npy < queries.txt

exit codes: 0 done, 1 failed with one line saying why, 2 wrong usage, 130 interrupted
TAESR_DEBUG=1 adds a traceback to what went wrong; TAESR_MODEL names another default model.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments without the program's name; those of the process by default.

    Returns
    -------
    int
        Exit code: 0 done, 1 failed, 2 wrong usage, 130 interrupted.
    """
    use_utf8(sys.stdout, sys.stderr)
    try:
        code = _run(argv)
        sys.stdout.flush()
    except BrokenPipeError:
        _discard_stdout()  # whoever read the output has enough of it
        return 0
    except KeyboardInterrupt as interrupt:
        _discard_stdout()
        note(f"interrupted; {interrupt}" if str(interrupt) else "interrupted")
        return 130
    except Exception as error:
        if os.environ.get("TAESR_DEBUG") == "1":
            traceback.print_exc()
        _discard_stdout()
        note(describe(error))
        return 1
    return code


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="taesr",
        description="Finds passages in your documents and answers questions from them, with sources.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    parser.add_argument(
        "--cmake-dir", action="store_true", help="print the folder of taesrConfig.cmake and exit"
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for command in _COMMANDS:
        command.register(commands)
    return parser


def _run(argv: Sequence[str] | None) -> int:
    parser = build_parser()
    try:
        arguments = parser.parse_args(argv)
        if not (arguments.version or arguments.cmake_dir or hasattr(arguments, "run")):
            parser.error("a command is needed")
    except SystemExit as stop:  # argparse has printed the help or what is wrong
        return stop.code if isinstance(stop.code, int) else 2
    import taesr

    if arguments.version:
        print(f"taesr {taesr.__version__}")
    elif arguments.cmake_dir:
        print(taesr.cmake_dir())
    else:
        code: int = arguments.run(arguments)
        return code
    return 0


def _discard_stdout() -> None:
    """Let the interpreter's last flush go nowhere: it would fail again, with a message of its own."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
