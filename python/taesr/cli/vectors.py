"""Writing embeddings as they come: a .npy file, a file of JSON lines, or JSON lines on stdout.

Files appear under their name when they are complete and never before: they are written beside it
and renamed.
"""

import io
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import taesr


class Writer(Protocol):
    """Takes embeddings batch by batch."""

    def write(self, encoded: "taesr.Encoded") -> None:
        """Append a batch."""


class NpyWriter:
    """A float32 array [rows, dim] in NumPy's format, whose number of rows is known at the end only."""

    def __init__(self, file: IO[bytes], dim: int) -> None:
        self._file = file
        self._dim = dim
        self._rows = 0
        self._file.write(self._header())

    def write(self, encoded: "taesr.Encoded") -> None:
        """Append a batch."""
        self._file.write(encoded.embeddings.astype("<f4", order="C", copy=False).data)
        self._rows += len(encoded.embeddings)

    def finish(self) -> None:
        """Put the number of rows into the header; NumPy pads it so that every number fits."""
        self._file.seek(0)
        self._file.write(self._header())

    def _header(self) -> bytes:
        from numpy.lib import format as npy

        header = io.BytesIO()
        shape = (self._rows, self._dim)
        npy.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
        return header.getvalue()


class JsonLinesWriter:
    """One object a text: ``{"embedding": [...], "depth": 3, "tokens": 12, "windows": 1}``."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, encoded: "taesr.Encoded") -> None:
        """Append a batch; nine digits give back the same float32."""
        facts = zip(encoded.depths, encoded.token_counts, encoded.windows, strict=True)
        for vector, (depth, tokens, windows) in zip(encoded.embeddings, facts, strict=True):
            numbers = ", ".join(f"{value:.9g}" for value in vector.tolist())
            self._file.write(
                f'{{"embedding": [{numbers}], "depth": {depth}, "tokens": {tokens}, "windows": {windows}}}\n'
            )


@contextmanager
def open_writer(path: Path | None, dim: int) -> Iterator[Writer]:
    """Open the writer that the ending of `path` asks for; None writes JSON lines to stdout."""
    if path is None:
        yield JsonLinesWriter(sys.stdout)
        return
    with _replacing(path) as file:
        if path.suffix == ".npy":
            array = NpyWriter(file, dim)
            yield array
            array.finish()
        else:
            text = io.TextIOWrapper(file, encoding="utf-8", newline="\n")
            try:
                yield JsonLinesWriter(text)
            finally:
                text.detach()  # writes what it still holds, and leaves closing the file to its owner


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """Write a file beside `path` that takes its name on success and is removed otherwise."""
    target = path.resolve()  # a link stays a link
    with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            os.chmod(file.name, 0o666 & ~_umask())
            os.replace(file.name, target)
        except BaseException:
            os.unlink(file.name)
            raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
