"""One module a format; each turns a file's content into text with sections."""

import importlib
from pathlib import PurePath
from typing import Protocol, cast

from taesr.ingest.detect import Content, detect
from taesr.ingest.limits import MAX_LINE
from taesr.ingest.normalize import printable
from taesr.ingest.outcome import Parsed, UnreadableError

# Part of every document's hash: raised when loaders give other text than before for the same file, so
# that the next ingest reads files again that did not change.
LOADER_VERSION = "1"


class _Loader(Protocol):
    def load(self, content: Content, data: bytes, max_pages: int) -> Parsed: ...


def load(name: str, data: bytes, *, max_pages: int) -> Parsed:
    """Text, title, sections and metadata of the file `name` with the bytes `data`.

    Raises
    ------
    UnreadableError
        With the reason, when there is no text in it.
    """
    content = detect(name, data)
    loader = cast(_Loader, importlib.import_module(f"{__name__}.{content.format}"))
    parsed = loader.load(content, data, max_pages)
    if not parsed.text.strip():
        raise UnreadableError("no text in it")
    _check_lines(parsed.text)
    encoding = {"encoding": content.encoding} if content.encoding not in ("", "utf-8") else {}
    return Parsed(
        text=parsed.text,
        title=parsed.title or printable(PurePath(name).stem).replace("_", " ").replace("-", " ").strip(),
        sections=parsed.sections,
        metadata={**parsed.metadata, "format": content.format, "size": len(data), **encoding},
        notes=content.notes + parsed.notes,
    )


def _check_lines(text: str) -> None:
    if len(text) <= MAX_LINE:
        return
    for number, line in enumerate(text.split("\n"), 1):
        if len(line) > MAX_LINE:
            raise UnreadableError(
                f"line {number} has {len(line):,} characters, at most {MAX_LINE:,} are read: this looks like "
                "data, not prose; break it into paragraphs if it is prose"
            )
