"""Puts the parts of a document together as text with sections.

Every format ends in the same light Markdown: headings with ``#``, list items with ``-`` or numbers,
tables with ``|`` and code in fences, each by itself between empty lines. All else is plain text.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from taesr.document import Section
from taesr.ingest.normalize import keep_layout, squeeze, squeeze_line

_LONGEST_HEADING = 200  # characters of a heading that section paths name


@dataclass(frozen=True, slots=True)
class Block:
    """A part of a document, from its beginning to its end.

    ``"border"`` begins a section without writing its name into the text; ``"plain"`` is text with a
    layout of its own; ``tight`` follows the block before without an empty line.
    """

    kind: Literal["text", "plain", "heading", "code", "border"]
    text: str
    level: int = 0  # of a heading or border, 1 is the highest
    indent: str = ""  # in front of the first line of text: the marker of a list item
    tight: bool = False

    def render(self) -> str:
        """The block as it stands in the text; empty where nothing shows."""
        if self.kind == "border":
            return ""
        if self.kind == "heading":
            title = squeeze_line(self.text)
            return f"{'#' * self.level} {title}" if title else ""
        if self.kind == "plain":
            return keep_layout(self.text)
        if self.kind == "code":
            code = keep_layout(self.text)
            fence = "~~~" if "```" in code else "```"
            return f"{fence}\n{code}\n{fence}" if code.strip() else ""
        text = squeeze(self.text)
        return self.indent + text if text else ""


class _Sections:
    """Follows the headings: which section is open, and which came before."""

    def __init__(self) -> None:
        self.closed: list[Section] = []
        self._headings: list[tuple[int, str]] = []
        self._begin = 0
        self._has_body = False

    def open(self, level: int, title: str, offset: int) -> None:
        """Begin a section at byte `offset`."""
        deeper = bool(self._headings) and level > self._headings[-1][0]
        # A heading with nothing but a smaller heading below it is part of that one's section.
        if self._has_body or not deeper:
            self.close(offset)
            self._begin = offset
        self._has_body = False
        while self._headings and self._headings[-1][0] >= level:
            self._headings.pop()
        self._headings.append((level, title[:_LONGEST_HEADING].replace(" > ", " \u203a ")))

    def add_body(self) -> None:
        """Say that the open section has text."""
        self._has_body = True

    def close(self, offset: int) -> None:
        """End the open section before byte `offset`."""
        if offset > self._begin:
            self.closed.append(Section(" > ".join(title for _, title in self._headings), self._begin, offset))
            self._begin = offset


def assemble(blocks: Iterable[Block]) -> tuple[str, tuple[Section, ...]]:
    """The text of the blocks, and its sections; none where there is no heading or border."""
    pieces: list[str] = []
    size = 0  # of the pieces, in bytes
    sections = _Sections()
    openings: list[Block] = []  # of sections that begin with the next text
    for block in blocks:
        text = block.render()
        if block.level and (text or block.kind == "border"):
            openings.append(block)
        if not text:
            continue
        gap = "" if not pieces else "\n" if block.tight else "\n\n"
        for opening in openings:
            sections.open(opening.level, squeeze_line(opening.text), size + len(gap))
        openings.clear()
        if block.kind != "heading":
            sections.add_body()
        pieces += (gap, text)
        size += len(gap) + (len(text) if text.isascii() else len(text.encode()))
    sections.close(size)
    named = any(section.path for section in sections.closed)
    return "".join(pieces), tuple(sections.closed) if named else ()


def table_text(rows: list[list[str]]) -> str:
    """Rows of cells, all of one length, as a Markdown table; the first is its head."""
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    lines.insert(1, "|" + " --- |" * len(rows[0]))
    return "\n".join(lines)
