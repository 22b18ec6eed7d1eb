"""Shows a text while it is written: its last words on one line of the terminal."""

import shutil
import sys
from collections.abc import Iterator
from typing import TextIO


def show(pieces: Iterator[str], stream: TextIO | None = None) -> None:
    """Take all `pieces`; on a terminal, show the end of the text on stderr until it is complete."""
    stream = stream or sys.stderr
    terminal = stream.isatty()
    text = ""
    try:
        for piece in pieces:
            if terminal:
                text = (text + piece)[-1000:]
                stream.write(f"\r\x1b[K\x1b[2m{_tail(text)}\x1b[0m")
                stream.flush()
    finally:
        if text:
            stream.write("\r\x1b[K")
            stream.flush()


def _tail(text: str) -> str:
    """The last characters that fit the terminal's line, none of which control it."""
    line = "".join(c if c.isprintable() else " " for c in text)
    room = shutil.get_terminal_size().columns - 1
    return line if len(line) <= room else f"…{line[-(room - 1) :]}"
