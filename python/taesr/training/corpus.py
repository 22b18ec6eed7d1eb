"""Texts of a corpus: plain files, a text a line, or a pool's JSON lines; each may be .gz or .xz."""

import gzip
import json
import lzma
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

from taesr.errors import FormatError, InvalidArgument, IoError

Report = Callable[[str, int, int | None], None]
"""Called with what is being done, how much of it is done, and of how much (None: unknown)."""

_JSON_SUFFIXES = (".jsonl", ".json", ".ndjson")


def iter_texts(paths: Sequence[str | Path]) -> Iterator[str]:
    """Yield every text that is not blank, file by file.

    `.jsonl`, `.ndjson` and `.json` files hold a JSON object with "text" a line; any other file holds a
    text a line. A further suffix `.gz` or `.xz` says how it is compressed.

    Raises
    ------
    IoError, FormatError
        Name the file, and the line where one is wrong.
    """
    for path in map(Path, paths):
        as_json = _plain_suffix(path) in _JSON_SUFFIXES
        try:
            with _open(path) as file:
                for number, raw in enumerate(file, 1):
                    text = _text(raw, path, number, as_json)
                    if text:
                        yield text
        except (EOFError, lzma.LZMAError, gzip.BadGzipFile) as error:
            raise FormatError(f"{path}: damaged or cut short ({error})") from error
        except OSError as error:
            raise IoError(f"{path}: {error.strerror or error}") from error


def sample_texts(
    paths: Sequence[str | Path], *, max_bytes: int, report: Report | None = None
) -> Iterator[str]:
    """Yield texts spread evenly over the files until about `max_bytes` of UTF-8, reading them once.

    Each file gives a share that its size on disk sets. Within a file every n-th text is taken, n from
    the file's size, so that memory does not grow with the corpus.
    """
    if max_bytes < 1:
        raise InvalidArgument(f"the sample's size is {max_bytes} bytes; allowed: 1 and more")
    files = [Path(path) for path in paths]
    if not files:
        raise InvalidArgument("no corpus file is given")
    sizes = [_text_bytes(path) for path in files]
    share = min(1.0, max_bytes / max(1, sum(sizes)))
    taken = 0
    for path, size in zip(files, sizes, strict=True):
        budget, used, credit = size * share, 0, 1.0
        for text in iter_texts([path]):
            credit += share
            if credit < 1:
                continue
            credit -= 1
            length = len(text.encode())
            if used + length > budget and used > 0:
                break
            used += length
            taken += length
            if report is not None:
                report("read", taken, round(sum(sizes) * share))
            yield text


def _text(raw: bytes, path: Path, number: int, as_json: bool) -> str:
    try:
        line = raw.decode("utf-8-sig" if number == 1 else "utf-8").strip()
    except UnicodeDecodeError as error:
        raise FormatError(f"{path}, line {number}: not valid UTF-8 (byte {error.start + 1})") from None
    if not as_json or not line:
        return line
    try:
        record = json.loads(line)
    except ValueError as error:
        raise FormatError(f"{path}, line {number}: not JSON ({error})") from None
    text = record.get("text") if isinstance(record, dict) else None
    if not isinstance(text, str):
        raise FormatError(f'{path}, line {number}: no string "text" in the object')
    # JSON can spell half of a surrogate pair, which no UTF-8 can.
    return text.encode("utf-8", "replace").decode().strip()


def _plain_suffix(path: Path) -> str:
    name = path.with_suffix("") if path.suffix in (".gz", ".xz") else path
    return name.suffix


def _open(path: Path) -> IO[bytes] | gzip.GzipFile | lzma.LZMAFile:
    if path.suffix == ".gz":
        return gzip.open(path, "rb")
    return lzma.open(path, "rb") if path.suffix == ".xz" else path.open("rb")


def _text_bytes(path: Path) -> int:
    """Size of a file's text: known for plain files, estimated from its beginning for compressed ones."""
    try:
        on_disk = path.stat().st_size
        if path.suffix not in (".gz", ".xz") or on_disk == 0:
            return on_disk
        with path.open("rb") as raw, _reader(raw, path.suffix) as file:
            sample = len(file.read(1 << 22))
            return max(sample, round(on_disk * sample / max(1, raw.tell())))
    except (EOFError, lzma.LZMAError, gzip.BadGzipFile) as error:
        raise FormatError(f"{path}: damaged or cut short ({error})") from error
    except OSError as error:
        raise IoError(f"{path}: {error.strerror or error}") from error


def _reader(raw: IO[bytes], suffix: str) -> gzip.GzipFile | lzma.LZMAFile:
    return gzip.GzipFile(fileobj=raw, mode="rb") if suffix == ".gz" else lzma.LZMAFile(raw)
