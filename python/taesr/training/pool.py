"""The pool of training texts: JSON lines of {"text", "role", "parent", "document"}, in one or several files.

A text's row is its line, counted over all files in their order. `parent` names a query's passage by
the same count, from 1: in a pool of one file it is the line that an editor shows. `document` joins the
passages of one document, which stand in their order.
"""

import gzip
import hashlib
import json
import lzma
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import numpy as np
import numpy.typing as npt

from taesr.errors import FormatError, IoError

Role = Literal["passage", "query"]
ROLES: tuple[Role, Role] = ("passage", "query")  # by their number in the model's table

_BLOCK_BYTES = 4 << 20


@dataclass(frozen=True)
class Block:
    """Whole lines of one pool file."""

    path: str
    first_line: int  # in its file, from 1
    data: bytes


@dataclass(frozen=True)
class Records:
    """The parsed lines of a block."""

    texts: list[str]
    role: npt.NDArray[np.uint8]  # [n] index of ROLES
    parent: npt.NDArray[np.int64]  # [n] row of a query's passage, -1: none
    document: npt.NDArray[np.int64]  # [n] digest of the document's name, -1: none


def read_blocks(path: str | Path, *, block_bytes: int = _BLOCK_BYTES) -> Iterator[Block]:
    """Cut a pool file into blocks of whole lines.

    Raises
    ------
    IoError, FormatError
        Name the file: it cannot be read, or its compression is damaged or cut short.
    """
    name, line = str(path), 1
    try:
        with _open(Path(path)) as file:
            while data := file.read(block_bytes):
                data += file.readline()
                yield Block(name, line, data)
                line += data.count(b"\n")
    except (EOFError, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise FormatError(f"{name}: damaged or cut short ({error})") from error
    except OSError as error:
        raise IoError(f"{name}: {error.strerror or error}") from error


def read_lines(path: str | Path) -> Iterator[bytes]:
    """Yield the lines of a file, plain or compressed, without their ends; errors as `read_blocks`."""
    for block in read_blocks(path):
        lines = block.data.split(b"\n")
        yield from lines if lines[-1] else lines[:-1]


def parse_block(block: Block) -> Records:
    """Parse and check every line of a block; a FormatError says file:line and what is wrong."""
    lines = block.data.split(b"\n")
    if not lines[-1]:
        lines.pop()  # what follows the last line's end
    role = np.empty(len(lines), np.uint8)
    parent = np.empty(len(lines), np.int64)
    document = np.empty(len(lines), np.int64)
    texts: list[str] = []
    known: dict[str | int | None, int] = {None: -1}
    for i, line in enumerate(lines):
        try:
            text, role[i], parent[i], name = _parse_line(line)
        except ValueError as error:
            raise FormatError(f"{block.path}:{block.first_line + i}: {error}") from None
        if name not in known:
            known[name] = _digest(name)
        document[i] = known[name]
        texts.append(text)
    return Records(texts, role, parent, document)


def iter_texts(paths: Sequence[str | Path]) -> Iterator[tuple[list[str], npt.NDArray[np.uint8]]]:
    """Yield the pool's texts with their roles, block by block in the order of rows."""
    for path in paths:
        for block in read_blocks(path):
            records = parse_block(block)
            yield records.texts, records.role


def check_parents(
    role: npt.NDArray[np.uint8], parent: npt.NDArray[np.int64], files: Sequence[tuple[str, int]]
) -> None:
    """Refuse a parent that is no passage's row; `files` are the pool's (path, lines)."""
    inside = parent < len(role)
    wrong = np.flatnonzero(~inside | ((parent >= 0) & (role[np.where(inside, parent, 0)] != 0)))
    if len(wrong):
        row = int(wrong[0])
        found = f"the pool has {len(role)} lines" if not inside[row] else "that line is a query"
        raise FormatError(f'{locate(row, files)}: "parent" is {parent[row] + 1}, but {found}; name a passage')


def locate(row: int, files: Sequence[tuple[str, int]]) -> str:
    """file:line of a row."""
    for path, lines in files:
        if row < lines:
            return f"{path}:{row + 1}"
        row -= lines
    raise IndexError(row)


def _parse_line(line: bytes) -> tuple[str, int, int, str | int | None]:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        problem = f"not JSON ({error.msg} at character {error.pos + 1})"
        raise ValueError(problem if line.strip() else "blank line") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON ({error})") from None
    if not isinstance(record, dict):
        raise ValueError('not an object of "text", "role", "parent" and "document"')
    text, role, parent = record.get("text"), record.get("role"), record.get("parent")
    if not isinstance(text, str) or not text or text.isspace():
        raise ValueError('"text" must be a string that is not blank')
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError('"text" holds half of a surrogate pair, which is no character') from None
    if role not in ROLES:
        raise ValueError(f'"role" is {role!r}; allowed: "passage", "query"')
    if parent is not None:
        if isinstance(parent, bool) or not isinstance(parent, int) or not 1 <= parent < 1 << 62:
            raise ValueError(f'"parent" is {parent!r}; allowed: the line number of a passage, or null')
        if role != "query":
            raise ValueError('a passage has a "parent"; only a query may')
    name = record.get("document")
    if isinstance(name, bool) or not isinstance(name, str | int | None):
        raise ValueError(f'"document" is {name!r}; allowed: a string, a whole number or null')
    return text, ROLES.index(role), (parent or 0) - 1, name


def _digest(name: str | int | None) -> int:
    raw = repr(name).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest(), "little") >> 1


def _open(path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        return gzip.open(path, "rb")  # type: ignore[return-value]
    return lzma.open(path, "rb") if path.suffix == ".xz" else path.open("rb")
