"""Bringing a collection up to date with files and folders, whatever keeps its documents."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

from taesr.document import Document

Progress = Callable[[int, int], None]

# Documents travel to the store in batches of about this many bytes: large enough for full batches of
# chunks, small enough to bound memory and what an interruption undoes.
_BATCH_BYTES = 1 << 20

_SAME_ID = (
    "the collection has a document '{id}' already, of '{other}': ingest their common folder, "
    "or keep them in two collections"
)


@dataclasses.dataclass(frozen=True, slots=True)
class IngestReport:
    """What an ingestion did.

    Attributes
    ----------
    added, updated, unchanged, removed
        Documents.
    chunks
        Chunks embedded.
    skipped
        Files of no supported type that nobody asked for by name.
    failed
        (path, reason) of files that could not be read. What an earlier ingestion read of them stays.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    removed: int = 0
    chunks: int = 0
    skipped: int = 0
    failed: list[tuple[str, str]] = dataclasses.field(default_factory=list)


class KnownDocument(Protocol):
    """What is known of a document that a collection holds."""

    @property
    def id(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def content_hash(self) -> str: ...


class Updatable(Protocol):
    """What keeps documents: see `taesr.Collection` for what its methods do."""

    def add(
        self,
        documents: Iterable[Document],
        *,
        replace: bool = ...,
        chunk_tokens: int = ...,
        overlap: int = ...,
        depth: str | int = ...,
        progress: Progress | None = ...,
    ) -> IngestReport: ...
    def remove(self, ids: Iterable[str]) -> int: ...
    def documents(self) -> Sequence[KnownDocument]: ...


def bring_up_to_date(
    target: Updatable,
    paths: Sequence[str | Path] | str | Path,
    *,
    replace: bool,
    chunk_tokens: int,
    overlap: int,
    depth: str | int,
    progress: Progress | None,
) -> IngestReport:
    """See `taesr.Collection.ingest`."""
    from taesr.ingest import iterate

    roots = [paths] if isinstance(paths, str | Path) else list(paths)
    stored = {info.id: info for info in target.documents()}
    known = {} if replace else {info.id: info.content_hash for info in stored.values()}
    total = 0

    def remember_total(_: int, files: int) -> None:
        nonlocal total
        total = files

    report = IngestReport()
    batch: list[Document] = []
    seen: set[str] = set()
    size = done = flushed = 0

    def tell(documents: int, of: int) -> None:
        """Progress inside a batch, in files: embedding is the slow part, not reading."""
        if progress is not None:
            progress(flushed + (done - flushed) * documents // of, total)

    def flush() -> None:
        nonlocal report, size, flushed
        added = target.add(
            batch,
            replace=replace,
            chunk_tokens=chunk_tokens,
            overlap=overlap,
            depth=depth,
            progress=tell,
        )
        report = _sum(report, added)
        batch.clear()
        size = 0
        flushed = done
        if progress is not None:
            progress(done, total)

    for file in iterate(roots, known=known, progress=remember_total):
        done += 1
        seen.add(file.id)
        if file.document is not None and (other := _other_file(stored.get(file.id), file.document)):
            report.failed.append((str(file.path), _SAME_ID.format(id=file.id, other=other)))
        elif file.document is not None:
            batch.append(file.document)
            size += len(file.document.text)
        elif file.status == "unchanged":
            report = dataclasses.replace(report, unchanged=report.unchanged + 1)
        elif file.status == "skipped":
            report = dataclasses.replace(report, skipped=report.skipped + 1)
        else:
            report.failed.append((str(file.path), file.reason))
        if size >= _BATCH_BYTES:
            flush()
    flush()
    gone = _vanished(stored.values(), roots, seen)
    return dataclasses.replace(report, removed=target.remove(gone) if gone else 0)


def _other_file(stored: KnownDocument | None, document: Document) -> str:
    """The file that already has this document's id, if it is another one that still exists."""
    if stored is None or stored.source == document.source or not os.path.exists(stored.source):
        return ""
    return stored.source


def _vanished(stored: Iterable[KnownDocument], roots: Sequence[str | Path], seen: set[str]) -> list[str]:
    """Ids of documents that came from these folders and whose files the walk did not meet again.

    What lies below a folder that could not be read (its id ends in "/") counts as met: a passing
    fault of a disk or a permission must not delete what was read before.
    """
    folders = tuple(os.path.join(os.path.abspath(root), "") for root in roots if os.path.isdir(root))
    unread = tuple(name for name in seen if name.endswith("/"))
    return [
        info.id
        for info in stored
        if folders
        and info.source.startswith(folders)
        and info.id not in seen
        and not info.id.startswith(unread)
    ]


def _sum(a: IngestReport, b: IngestReport) -> IngestReport:
    return dataclasses.replace(
        a,
        added=a.added + b.added,
        updated=a.updated + b.updated,
        unchanged=a.unchanged + b.unchanged,
        chunks=a.chunks + b.chunks,
    )
