"""Cuts a passage into the units that an answer can quote: sentences, list entries, code blocks."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from taesr import split_sentences
from taesr.answer.plain import plain, visible
from taesr.answer.types import StatementKind

_WORDS = (re.compile(r"\w"), re.compile(r"[^\W\d_]"))  # of a list entry or code, of a sentence
_FENCE = re.compile(r"\s{0,3}(```+|~~~+)")
_HEADING = re.compile(r"\s{0,3}(#{1,6})\s+(.*?)[\s#]*$")
_RULE = re.compile(r"\s*(?:[-*_=]\s*){3,}$")
_ROW = re.compile(r"\s*\|.*\|\s*$")
_ROW_RULE = re.compile(r"\s*\|[\s|:-]*\|\s*$")
_ENTRY = re.compile(r"\s*(?:[-*+•]|(\d{1,3}[.)]))\s+")
# Sentences that speak to a language model are no answer to a person's question.
_TO_MODELS = re.compile(
    r"\b(?:ignore|disregard|forget|override)\b.{0,40}\b(?:instruction|prompt|rule|guideline|context|above)"
    r"|\b(?:system|developer|hidden) prompt\b|\byou are now\b|\bas an? (?:ai|language model|assistant)\b"
    r"|<\|[^|>]{1,40}\|>|\[/?INST\]|<</?SYS>>|^\s*(?:system|assistant)\s*:",
    re.IGNORECASE,
)
_ANNOUNCES = re.compile(r"[:\uff1a]$|\b(?:these|the following) (?:steps|methods)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Unit:
    """A quotable piece of a passage.

    `text` is plain; `[begin, end)` are characters of the passage; `label` is a step's number.
    `block` numbers the paragraphs and lists of a passage: entries of one list share it.
    `section` is the path of headings that it stands under.
    """

    text: str
    kind: StatementKind
    begin: int
    end: int
    block: int
    section: str = ""
    label: str = ""

    @property
    def introduces(self) -> bool:
        """Whether what follows belongs to it: "To do this, follow these steps:"."""
        return bool(_ANNOUNCES.search(self.text))

    @property
    def is_question(self) -> bool:
        return self.text.endswith(("?", "\uff1f"))


@dataclass(frozen=True)
class _Block:
    """A paragraph, list entry, table row or block of code: text[begin:end]."""

    kind: StatementKind
    begin: int
    end: int
    section: str


def split_units(text: str, section: str = "") -> list[Unit]:
    """Units of a passage that begins in `section`, in order.

    Headings, rules and table heads are left out, and so is text addressed to language models.
    """
    units: list[Unit] = []
    for number, block in enumerate(_blocks(text, section)):
        pieces = (
            _sentences(text, block.begin, block.end)
            if block.kind == "sentence"
            else [(block.begin, block.end)]
        )
        for begin, end in pieces:
            unit = _unit(text, block, begin, end, number)
            if not _WORDS[unit.kind == "sentence"].search(unit.text) or _TO_MODELS.search(unit.text):
                continue
            before = units[-1] if units else None
            if before and unit.kind == before.kind != "sentence" and unit.section == before.section:
                unit = replace(unit, block=before.block)
            units.append(unit)
    return units


def _unit(text: str, block: _Block, begin: int, end: int, number: int) -> Unit:
    raw = text[begin:end]
    label = ""
    if block.kind == "code":
        shown = visible(raw).strip("\n")
    elif block.kind == "item" and _ROW.match(raw):
        cells = [cell.strip() for cell in plain(raw).strip("| ").split("|")]
        shown = ": ".join(filter(None, (cells[0], ", ".join(filter(None, cells[1:])))))
    else:
        entry = _ENTRY.match(raw) if block.kind in ("step", "item") else None
        label = (entry and entry[1]) or ""
        shown = plain(raw[entry.end() :] if entry else raw)
    return Unit(shown, block.kind, begin, end, number, block.section, label)


def _sentences(text: str, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Sentences of text[begin:end] as character ranges of `text`."""
    paragraph = text[begin:end]
    data = paragraph.encode("utf-8")
    for first, last in split_sentences(paragraph):
        if len(data) != len(paragraph):  # byte offsets are character offsets only in ASCII
            first, last = len(data[:first].decode("utf-8")), len(data[:last].decode("utf-8"))
        yield begin + first, begin + last


def _blocks(text: str, section: str) -> Iterator[_Block]:
    kind: StatementKind | None = None
    begin = position = 0
    fence = ""
    here = section
    headings: list[tuple[int, str]] = []
    lines = text.splitlines(keepends=True)
    for number, line in enumerate(lines):
        start, position = position, position + len(line)
        edge = _FENCE.match(line)
        if fence:
            if edge and edge[1].startswith(fence):
                yield _Block("code", begin, start, here)
                fence = ""
            continue
        entry, row, heading = _ENTRY.match(line), _ROW.match(line), _HEADING.match(line)
        blank = not line.strip() or heading or _RULE.match(line)
        if kind and (edge or entry or row or blank):
            yield _Block(kind, begin, start, here)
            kind = None
        if heading:
            headings = [
                *(h for h in headings if h[0] < len(heading[1])),
                (len(heading[1]), plain(heading[2])),
            ]
            here = _path(section, [name for _, name in headings])
        elif edge:
            fence, begin = edge[1], position
        elif row:
            is_head = number + 1 < len(lines) and _ROW_RULE.match(lines[number + 1])
            if not (is_head or _ROW_RULE.match(line)):
                yield _Block("item", start, position, here)
        elif not blank and not kind:
            kind = "sentence" if not entry else "step" if entry[1] else "item"
            begin = start
    if fence or kind:
        yield _Block("code" if fence else kind or "sentence", begin, position, here)


def _path(section: str, headings: list[str]) -> str:
    """Path of the last of the headings open inside a passage whose own path may name some of them already."""
    parts = section.split(" > ") if section else []
    if headings[0] in parts:
        parts = parts[: parts.index(headings[0])]
    return " > ".join([*parts, *headings])
