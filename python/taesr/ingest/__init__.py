"""Reads folders of Markdown, text, HTML and PDF files into documents.

Every file ends as loaded, unchanged, skipped or failed with a reason; a bad one never stops the rest.
Importing this package needs neither torch nor the compiled extension.

>>> from taesr.ingest import load_folder
>>> report = load_folder("docs")                                        # doctest: +SKIP
>>> [document.title for document in report.documents]                   # doctest: +SKIP
"""

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from taesr.document import Document
from taesr.errors import InvalidArgument, IoError
from taesr.ingest.limits import Limits, megabytes
from taesr.ingest.loaders import LOADER_VERSION
from taesr.ingest.normalize import printable
from taesr.ingest.outcome import LoadedFile, LoadReport, UnreadableError
from taesr.ingest.sandbox import Sandbox
from taesr.ingest.walk import FoundFile, find_files

__all__ = ["Limits", "LoadReport", "LoadedFile", "iterate", "load_file", "load_folder"]

AnyPath = str | os.PathLike[str]


def iterate(
    paths: Iterable[AnyPath],
    *,
    limits: Limits | None = None,
    known: Mapping[str, str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[LoadedFile]:
    """Load files one by one, in a stable order.

    Parameters
    ----------
    paths
        Folders, read with all below them, and single files.
    limits
        What one file may cost.
    known
        Content hashes by document id. A file whose hash is there is not parsed: it is ``"unchanged"``.
    progress
        Called with (files done, files in all) after each file.

    Raises
    ------
    IoError
        For a path that does not exist.
    InvalidArgument
        When two files would have the same id. Both before any file is read.
    """
    found = find_files(paths)
    return _load_all(found, limits or Limits(), known or {}, progress)


def load_folder(
    path: AnyPath, *, limits: Limits | None = None, progress: Callable[[int, int], None] | None = None
) -> LoadReport:
    """Load all files below a folder. See `iterate`."""
    return LoadReport(tuple(iterate([path], limits=limits, progress=progress)))


def load_file(path: AnyPath, *, limits: Limits | None = None) -> LoadedFile:
    """Load one file; its id is its name.

    Raises
    ------
    IoError
        When there is no such file, or it is a folder.
    """
    if os.path.isdir(path):
        raise IoError(f"{printable(os.fspath(path))}: is a folder; use load_folder")
    return next(iterate([path], limits=limits))


def _load_all(
    found: list[FoundFile],
    limits: Limits,
    known: Mapping[str, str],
    progress: Callable[[int, int], None] | None,
) -> Iterator[LoadedFile]:
    with Sandbox(limits) as sandbox:
        for number, file in enumerate(found, 1):
            loaded = _load(file, sandbox, limits, known)
            if progress is not None:
                progress(number, len(found))
            yield loaded


def _load(file: FoundFile, sandbox: Sandbox, limits: Limits, known: Mapping[str, str]) -> LoadedFile:
    if file.reason:
        return LoadedFile(file.id, file.path, "skipped" if file.skipped else "failed", reason=file.reason)
    try:
        data = _read(file.path, limits.file_bytes)
        content_hash = hashlib.sha256(data + b"\0loaders " + LOADER_VERSION.encode()).hexdigest()
        if known.get(file.id) == content_hash:
            return LoadedFile(file.id, file.path, "unchanged")
        parsed = sandbox.parse(file.path.name, data)
    except UnreadableError as error:
        return LoadedFile(file.id, file.path, "failed", reason=printable(str(error)))
    try:
        document = Document(
            id=file.id,
            text=parsed.text,
            title=parsed.title,
            sections=parsed.sections,
            source=printable(os.path.abspath(file.path)),
            metadata=parsed.metadata,
            content_hash=content_hash,
        )
    except InvalidArgument as error:  # a parser that a file has taken over may answer anything
        return LoadedFile(file.id, file.path, "failed", reason=printable(f"parsed to nonsense: {error}"))
    return LoadedFile(file.id, file.path, "loaded", document, notes=parsed.notes)


def _read(path: Path, limit: int) -> bytes:
    """All bytes of a regular file of at most `limit`."""
    try:
        # Opening a pipe for reading would otherwise wait for a writer.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise UnreadableError("not a regular file")
            if status.st_size > limit:
                raise UnreadableError(
                    f"{megabytes(status.st_size)}, over the limit of {megabytes(limit)}: split it"
                )
            data = file.read(limit + 1)
    except OSError as error:
        raise UnreadableError(f"cannot be opened: {error.strerror or error}") from None
    if len(data) > limit:
        raise UnreadableError(f"grew beyond the limit of {megabytes(limit)} while it was read")
    return data
