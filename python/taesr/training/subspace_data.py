"""What subspaces learn from: JSON lines in one folder, ``NAME*.train.jsonl`` and ``NAME*.heldout.jsonl``.

- ``temporal``: ``{"text_a", "year_a", "text_b", "year_b"}``, two dated sentences; or ``{"query", "year",
  "same_decade", "year_same", "other", "year_other"}``, one with a near and a far one;
- ``procedural``: ``{"text", "label"}``, ``"procedural"`` for how-to text or ``"factual"``;
- ``contextual``: ``{"anchor", "neighbour", "distant", "random"}``, a paragraph, the next one, another of
  the same document, and one of another document.

Further fields are left alone. ``semantic`` needs no file: it learns from the texts of all the others.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from taesr.errors import FormatError, IoError

LABELS = ("factual", "procedural")
_YEARS = (-10_000, 10_000)
_CONTEXT = ("anchor", "neighbour", "distant", "random")
_PAIR = (("text_a", "year_a"), ("text_b", "year_b"))
_EVENT = (("query", "year"), ("same_decade", "year_same"), ("other", "year_other"))


@dataclass
class SubspaceData:
    """Items of one side of the split, as places in `texts`.

    Attributes
    ----------
    texts : list of str
        Each once.
    years : dict of int to int
        Of the dated texts, by place.
    orders : list of (int, int)
        Two texts of different years, the order as in the file.
    events : list of (int, int, int)
        A text, one of a near year, one of a far year.
    labels : dict of int to int
        Place in `LABELS`.
    contexts : list of (int, int, int, int)
        Anchor, neighbour, distant, random.
    """

    texts: list[str] = field(default_factory=list)
    years: dict[int, int] = field(default_factory=dict)
    orders: list[tuple[int, int]] = field(default_factory=list)
    events: list[tuple[int, int, int]] = field(default_factory=list)
    labels: dict[int, int] = field(default_factory=dict)
    contexts: list[tuple[int, int, int, int]] = field(default_factory=list)
    _places: dict[str, int] = field(default_factory=dict)

    def place(self, text: str) -> int:
        """Place of a text, which is added where it is new."""
        if text not in self._places:
            self._places[text] = len(self.texts)
            self.texts.append(text)
        return self._places[text]


def load_subspace_data(folder: str | Path, split: str, *, limit: int, seed: int = 0) -> SubspaceData:
    """Read one side, "train" or "heldout"; at most `limit` random lines of each file.

    Raises
    ------
    IoError
        The folder is missing, or has no file of that side.
    FormatError
        A line does not fit; the message starts with ``file:line``.
    """
    root = Path(folder)
    data = SubspaceData()
    readers = {"temporal": _add_temporal, "procedural": _add_label, "contextual": _add_context}
    files = [(name, path) for name in readers for path in sorted(root.glob(f"{name}*.{split}.jsonl"))]
    if not files:
        raise IoError(
            f"'{root}' has no file like temporal.{split}.jsonl, procedural.{split}.jsonl or "
            f"contextual.{split}.jsonl"
        )
    for name, path in files:
        lines = path.read_bytes().splitlines()
        numbers = np.arange(len(lines))
        if len(lines) > limit:
            numbers = np.sort(np.random.default_rng(seed).choice(numbers, limit, replace=False))
        for number, record in _records(path, lines, numbers.tolist()):
            try:
                readers[name](data, record)
            except ValueError as error:
                raise FormatError(f"{path}:{number + 1}: {error}") from None
    return data


def _records(path: Path, lines: list[bytes], numbers: list[int]) -> Iterator[tuple[int, dict[str, Any]]]:
    for number in numbers:
        if not lines[number].strip():
            continue
        try:
            record = json.loads(lines[number])
        except (ValueError, RecursionError):
            raise FormatError(f"{path}:{number + 1}: not valid JSON in UTF-8") from None
        if not isinstance(record, dict):
            raise FormatError(f"{path}:{number + 1}: must be one JSON object")
        yield number, record


def _add_temporal(data: SubspaceData, record: dict[str, Any]) -> None:
    if "query" in record:
        places = [_dated(data, record, *names) for names in _EVENT]
        data.events.append((places[0], places[1], places[2]))
        return
    first, second = (_dated(data, record, *names) for names in _PAIR)
    if record["year_a"] != record["year_b"]:
        data.orders.append((first, second))


def _add_label(data: SubspaceData, record: dict[str, Any]) -> None:
    label = record.get("label")
    if label not in LABELS:
        raise ValueError(f"'label' is {label!r}; allowed: {', '.join(LABELS)}")
    data.labels[data.place(_text(record, "text"))] = LABELS.index(label)


def _add_context(data: SubspaceData, record: dict[str, Any]) -> None:
    anchor, neighbour, distant, other = (data.place(_text(record, name)) for name in _CONTEXT)
    data.contexts.append((anchor, neighbour, distant, other))


def _dated(data: SubspaceData, record: dict[str, Any], text: str, year: str) -> int:
    value = record.get(year)
    if not isinstance(value, int) or isinstance(value, bool) or not _YEARS[0] <= value <= _YEARS[1]:
        raise ValueError(f"{year!r} is {value!r}; allowed: a whole number from {_YEARS[0]} to {_YEARS[1]}")
    place = data.place(_text(record, text))
    data.years[place] = value
    return place


def _text(record: dict[str, Any], name: str) -> str:
    value = record.get(name)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name!r} must be a text that is not blank, got {str(value)[:60]!r}")
    return value
