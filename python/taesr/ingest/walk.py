"""Finds the files below folders, in a stable order, without leaving the folders."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from taesr.errors import InvalidArgument, IoError
from taesr.ingest.detect import is_supported
from taesr.ingest.normalize import printable


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file to load, or with a `reason`, one that cannot be (`skipped`: that nobody asked for)."""

    id: str
    path: Path
    reason: str = ""
    skipped: bool = False


def find_files(paths: Iterable[str | os.PathLike[str]]) -> list[FoundFile]:
    """Files of several inputs: folders with all below them, and single files.

    Ids are paths relative to the folder given, with ``/``; a single file's is its name. Hidden files
    and folders (``.name``) are left out. Symbolic links are followed to files inside their folder only.

    Raises
    ------
    IoError
        For an input that does not exist.
    InvalidArgument
        When two different files would have the same id.
    """
    found: dict[str, FoundFile] = {}
    for path in map(Path, paths):
        for file in _walk(path) if path.is_dir() else [_single(path)]:
            other = found.setdefault(file.id, file)
            if other.path != file.path and not _same(other.path, file.path):
                raise InvalidArgument(
                    f"{printable(str(other.path))} and {printable(str(file.path))} would both be document "
                    f"{file.id!r}: give a folder that holds both instead, or ingest them into two collections"
                )
    return list(found.values())


def _same(a: Path, b: Path) -> bool:
    return os.path.realpath(a) == os.path.realpath(b)


def _single(path: Path) -> FoundFile:
    if not os.path.lexists(path):
        raise IoError(f"{printable(str(path))}: no such file or folder")
    return FoundFile(printable(path.name), path)


def _walk(folder: Path) -> Iterator[FoundFile]:
    inside = os.path.join(os.path.realpath(folder), "")
    pending = [(folder, "")]  # the next to be read is the last
    while pending:
        path, prefix = pending.pop()
        try:
            with os.scandir(path) as scan:
                entries = sorted(scan, key=lambda entry: entry.name)
        except OSError as error:
            yield FoundFile(prefix or "./", path, f"folder cannot be read: {error.strerror or error}")
            continue
        folders = []
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append((Path(entry.path), f"{prefix}{printable(entry.name)}/"))
            else:
                yield _entry(entry, prefix + printable(entry.name), inside)
        pending.extend(reversed(folders))


def _entry(entry: "os.DirEntry[str]", name: str, inside: str) -> FoundFile:
    path = Path(entry.path)
    if entry.is_symlink():
        target = os.path.realpath(path)
        if not os.path.exists(target):
            return FoundFile(name, path, "symbolic link to nothing, or to itself")
        if os.path.isdir(target):
            return FoundFile(name, path, "symbolic link to a folder: not followed", skipped=True)
        if not target.startswith(inside):
            return FoundFile(name, path, "symbolic link that leaves the folder: not followed", skipped=True)
    if not is_supported(entry.name):
        kind = path.suffix.lower() or "no extension"
        return FoundFile(name, path, f"not a supported type ({printable(kind)})", skipped=True)
    if not entry.is_file():
        return FoundFile(name, path, "not a regular file", skipped=True)
    return FoundFile(name, path)
