"""What comes of a file: a document, or the reason why there is none."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from taesr.document import Document, Scalar, Section

Status = Literal["loaded", "unchanged", "skipped", "failed"]


class UnreadableError(Exception):
    """A file that gives no text; the message is the reason in one line."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """The text that a loader found in a file."""

    text: str
    title: str = ""
    sections: tuple[Section, ...] = ()
    metadata: dict[str, Scalar] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LoadedFile:
    """The final state of one file.

    Attributes
    ----------
    id
        Path relative to the folder given, with ``/``; characters that do not print are escaped.
    path
        The file itself.
    status
        ``"loaded"``; ``"unchanged"``, when its hash was known; ``"skipped"``, for files that nobody asked
        for by name and that are of no supported type; or ``"failed"``.
    document
        The document of a loaded file.
    reason
        Why there is none, in one line.
    notes
        What a reader of a loaded document should know, such as a guessed encoding or dropped hidden text.
    """

    id: str
    path: Path
    status: Status
    document: Document | None = None
    reason: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LoadReport:
    """The final states of all files, in the order of their walk."""

    files: tuple[LoadedFile, ...]

    @property
    def documents(self) -> list[Document]:
        """Documents of the loaded files."""
        return [file.document for file in self.files if file.document is not None]

    @property
    def failed(self) -> list[LoadedFile]:
        """Files that could not be read, with their reasons."""
        return [file for file in self.files if file.status == "failed"]

    @property
    def skipped(self) -> list[LoadedFile]:
        """Files of no supported type."""
        return [file for file in self.files if file.status == "skipped"]

    def __str__(self) -> str:
        counts = Counter(file.status for file in self.files)
        return ", ".join(f"{counts[status]} {status}" for status in get_args(Status))
