"""Writing for people and for programs."""

import json
import shutil
import sys
import textwrap
from typing import Any, TextIO

from taesr.errors import Error


def use_utf8(*streams: TextIO) -> None:
    """Write UTF-8 whatever the locale.

    File names that are not valid UTF-8 reach us as lone surrogates; they are written as
    ``\\udcXX``, which is also how JSON spells them.
    """
    for stream in streams:
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(encoding="utf-8", errors="backslashreplace")


def print_json(document: Any) -> None:
    """Print `document` as the one JSON document on stdout."""
    print(json.dumps(document, ensure_ascii=False, allow_nan=False, indent=2))


def note(message: str) -> None:
    """Print a line on stderr."""
    print(f"taesr: {message}", file=sys.stderr, flush=True)


def describe(error: BaseException) -> str:
    """Return one line that says why `error` ended the command."""
    if isinstance(error, Error | ImportError):
        message = str(error)
    elif isinstance(error, OSError) and error.strerror:
        message = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    elif isinstance(error, MemoryError):
        message = "out of memory; free some, or give the command less at a time"
    else:
        message = f"internal error: {type(error).__name__}: {error} (TAESR_DEBUG=1 shows the traceback)"
    return " ".join(message.split())


def paragraphs(text: str, *, indent: str = "", limit: int | None = None) -> str:
    """Wrap `text` to the terminal's width, at most 100 columns.

    With `limit`, white space is collapsed and what is beyond that many lines becomes an ellipsis.
    """
    width = max(40, min(100, shutil.get_terminal_size().columns))
    if limit is not None:
        text = " ".join(text.split())
    return "\n".join(
        textwrap.fill(
            line,
            width,
            initial_indent=indent,
            subsequent_indent=indent,
            max_lines=limit,
            placeholder=" …",
            break_long_words=limit is not None,
            break_on_hyphens=False,
        )
        for line in text.splitlines()
    )


def place(document: str, section: str) -> str:
    """Return a document and, where there is one, the section in it."""
    return f"{document} > {section}" if section else document
