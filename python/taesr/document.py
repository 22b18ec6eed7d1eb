"""Documents as plain values: what loaders make and collections take."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from taesr.errors import InvalidArgument

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Section:
    """A titled part of a document's text.

    Attributes
    ----------
    path
        Headings from the top, joined by ``" > "``; empty before the first heading.
    begin, end
        Bytes ``[begin, end)`` of the UTF-8 text (bytes, not characters).
    """

    path: str
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Document:
    """A text to search, with its headings as sections.

    Attributes
    ----------
    id
        Unique in a collection; for files, the path relative to the folder that was given.
    text
        Any text that UTF-8 can hold (no lone surrogates).
    title
        For people; keyword search reads it, too.
    sections
        Ascending and not overlapping; none means one section without a title.
    source
        Where a person can open it: an absolute path or a URL.
    metadata
        Values to filter by, such as ``{"format": "markdown"}``.
    content_hash
        Changes whenever the content does; filled in from the content when empty.

    Raises
    ------
    InvalidArgument
        For an empty id, text that UTF-8 cannot hold, and sections that do not fit the text.
    """

    id: str
    text: str
    title: str = ""
    sections: tuple[Section, ...] = ()
    source: str = ""
    metadata: Mapping[str, Scalar] = field(default_factory=dict)
    content_hash: str = ""

    def __post_init__(self) -> None:
        if not self.id:
            raise InvalidArgument("document without an id: give each a unique one, such as its path")
        for name in ("id", "text", "title", "source", "content_hash"):
            _require_utf8(self.id, name, getattr(self, name))
        size = len(self.text) if self.text.isascii() else len(self.text.encode())
        previous = 0
        for section in self.sections:
            if not previous <= section.begin <= section.end <= size:
                raise InvalidArgument(
                    f"document {self.id!r}: section {section.path!r} is bytes {section.begin} to "
                    f"{section.end}; allowed are {previous} (where the last ends) to {size} (the text's end)"
                )
            previous = section.end


def _require_utf8(document: str, name: str, value: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(
            f"document {document!a}: {name} has a lone surrogate, U+{ord(value[error.start]):04X}, at "
            f"character {error.start}, which UTF-8 cannot hold: replace it"
        ) from None
