"""Collections as wholes: listing, copying, moving to other formats and back, snapshots, checks.

Nothing here loads a model. Functions that change a collection fail at once, with an `IoError` that
names the holder, while it is open for writing; the others may run beside a writer.
"""

import datetime
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from taesr._native import core
from taesr.document import Scalar
from taesr.errors import InvalidArgument
from taesr.filters import to_filter

Progress = Callable[[int, int], None]


def list_collections(root: str | Path = ".") -> list[core.CollectionInfo]:
    """Describe `root`, where it is a collection, and its subfolders that are; by name.

    Returns
    -------
    Directory, model fingerprint, dimension, documents, chunks, generation and bytes of each; `problem`
    says why one cannot be opened.
    """
    return core.list_collections(Path(root))


def copy_collection(source: str | Path, target: str | Path) -> None:
    """Copy a collection to a folder that is absent or empty; a writer may go on meanwhile."""
    core.copy_collection(Path(source), Path(target))


def export_collection(
    directory: str | Path, folder: str | Path, *, progress: Progress | None = None
) -> core.TransferReport:
    """Write a collection to a folder, absent or empty, in formats that other programs read.

    ``documents.jsonl`` and ``chunks.jsonl`` have one object a line; ``dense.npy`` is float32
    [chunks, dimension], row i for line i of ``chunks.jsonl``; every other head has ``HEAD.npy`` (uint8,
    all bytes end to end) and ``HEAD_offsets.npy`` (int64 [chunks + 1]); ``manifest.json`` has the counts,
    the model and the files' sizes and checksums.

    Parameters
    ----------
    progress
        Called with (documents done, documents in all).
    """
    return core.export_collection(Path(directory), Path(folder), progress=progress)


def import_collection(
    folder: str | Path, directory: str | Path, *, progress: Progress | None = None
) -> core.TransferReport:
    """Make a collection, in a folder that is absent or empty, of what `export_collection` wrote.

    Raises
    ------
    ChecksumError, FormatError
        A file was changed or has content that cannot be; names the file and line.
    """
    return core.import_collection(Path(folder), Path(directory), progress=progress)


def create_snapshot(directory: str | Path, *, keep: int = 0) -> core.Snapshot:
    """Keep a copy of all rows inside the collection, then drop the oldest beyond `keep`; 0: none."""
    return core.create_snapshot(Path(directory), keep=_count(keep))


def list_snapshots(directory: str | Path) -> list[core.Snapshot]:
    """List snapshots, oldest first."""
    return core.list_snapshots(Path(directory))


def restore_snapshot(
    directory: str | Path, name: str | None = None, *, at: datetime.datetime | None = None
) -> core.Snapshot:
    """Put a snapshot in place of what the collection holds, in one transaction.

    What it held before is made a snapshot first; the file of a collection too damaged for that stays
    beside it as ``collection.sqlite.damaged``.

    Parameters
    ----------
    name
        Of the snapshot, or the beginning of it; None for the latest.
    at
        Instead of a name: the last snapshot made until then. Local time where there is no time zone.

    Returns
    -------
    The snapshot that was restored.
    """
    return core.restore_snapshot(Path(directory), choose_snapshot(list_snapshots(directory), name, at))


def compact_collection(directory: str | Path) -> core.CompactReport:
    """Give back the space of what was deleted and make the indexes anew."""
    return core.compact_collection(Path(directory))


def check_collection(directory: str | Path) -> core.CheckReport:
    """Read everything and compare it: pages, documents, chunks, embeddings, indexes, snapshots."""
    return core.check_collection(Path(directory))


def remove_documents(
    directory: str | Path,
    ids: Iterable[str] = (),
    *,
    filter: Mapping[str, Scalar] | None = None,  # noqa: A002 - as in `Collection.search`
) -> int:
    """Remove documents by id (unknown ones are ignored) or by metadata; returns how many there were."""
    ids = list(ids)
    if filter is None:
        return core.remove_documents(Path(directory), ids)
    if ids:
        raise InvalidArgument("ids and a filter at once; remove by one after the other")
    return core.remove_documents_matching(Path(directory), to_filter(filter))


def choose_snapshot(
    snapshots: Iterable[core.Snapshot], name: str | None, at: datetime.datetime | None
) -> str:
    """Return the name to restore; InvalidArgument where no snapshot is that old."""
    if at is None:
        return "latest" if name is None else name
    if name is not None:
        raise InvalidArgument("a snapshot's name and a time at once; give one of them")
    until = at.astimezone(datetime.UTC).timestamp() * 1000
    early = [snapshot.name for snapshot in snapshots if snapshot.milliseconds <= until]
    if not early:
        raise InvalidArgument(
            f"no snapshot was made until {at.isoformat(' ')}; list them to see the earliest"
        )
    return early[-1]


def _count(keep: int) -> int:
    if keep < 0:
        raise InvalidArgument(f"keep is {keep}; allowed: 0 (all) or a number of snapshots")
    return keep
