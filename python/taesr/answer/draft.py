"""What a language model wrote, checked against the sources that it was given.

A model's words are claims. Each statement keeps those of its source numbers whose source holds its words
and figures; one without a number gets that of the source which holds nearly all its words; one that no
source supports is left out, and so an answer of only such statements is none.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from taesr import split_sentences
from taesr.answer.passages import Passage
from taesr.answer.plain import plain, visible
from taesr.answer.prompt import quoted
from taesr.answer.terms import terms
from taesr.answer.types import Statement, StatementKind

SUPPORT = 0.5  # share of a statement's terms that the source it names must hold
SUPPORT_UNNAMED = 0.8  # that a source must hold to become the source of a statement that names none
_REPEATED, _TIMES = (
    40,
    3,
)  # characters at the end of a text that goes in circles, and how often they stand in it

_NUMBERS = re.compile(r"\[\s*(?:sources?\s*)?(\d+(?:\s*(?:,|;|and|&)\s*\d+)*)\s*\]", re.IGNORECASE)
_AFTER_STOP = re.compile(r"([.!?])((?:\s*\[[^\]\n]{1,40}\])+)")
_ENTRY = re.compile(r"\s*(?:[-*\u2022]|(\d{1,3}[.)]))\s+(?=\S)")
_LABEL = re.compile(
    r"\s*(?:\*\*)?(?:the )?(?:answer|response)(?: to (?:your|the|this) question)?(?: is)?(?:\*\*)?\s*:\s*",
    re.IGNORECASE,
)
_FIGURE = re.compile(r"\d+(?:[.,]\d+)*")
_SOURCES = (
    r"(?:the|this|these|those|any|no|your)(?: \w+){0,2} "
    r"(?:sources?|context|passages?|documents?|text|information)"
)
_REFUSES = re.compile(
    r"\bI(?:'m| am) (?:not (?:sure|certain|able)|unable|sorry)\b"
    r"|\bI (?:cannot|can't|can not|could not|couldn't|do not|don't) "
    r"(?:answer|find|determine|know|have (?:enough|sufficient|any))\b"
    rf"|\b{_SOURCES}\b[^.]{{0,40}}\b(?:do(?:es)?|is|are|did)(?: not|n't)\b[^.]{{0,40}}"
    r"\b(?:answer|contain|mention|provide|say|specify|state|include|hold|give)"
    r"|\b(?:is|are|was|were) not (?:mentioned|stated|specified|provided|given|answered|addressed|described) "
    rf"(?:anywhere|(?:in|by) {_SOURCES})\b"
    r"|\bthere is (?:no|not enough|insufficient) (?:answer|information|mention)\b"
    r"|\bcannot be (?:answered|determined)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Draft:
    """Statements with indexes of their sources; without any, `reason` says why in a sentence.

    `notes` are sentences on what the reader should know of how it came about.
    """

    statements: tuple[Statement, ...]
    reason: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Claim:
    """A sentence, entry or block of code and the indexes of the sources that it names, right or wrong."""

    text: str
    named: tuple[int, ...]
    kind: StatementKind
    label: str
    block: int


def refuses(text: str) -> bool:
    """Whether `text` begins by saying that the sources do not answer the question."""
    opening = _LABEL.sub("", text.strip().replace("\u2019", "'"), count=1)
    first = re.split(r"(?<=[.!?])\s|\n", opening, maxsplit=1)[0]
    return bool(_REFUSES.search(first))


def goes_in_circles(text: str) -> bool:
    """Whether the end of `text` stands in it again and again, which small models may go on with for ever."""
    return len(text) > _TIMES * _REPEATED and text.count(text[-_REPEATED:]) >= _TIMES


def check(text: str, question: str, passages: Sequence[Passage]) -> Draft:
    """The statements of `text` that `passages` support."""
    if not text.strip():
        return Draft((), "The language model wrote nothing.")
    if refuses(text):
        return Draft((), "The language model found no answer in the sources.")
    asked = frozenset(_FIGURE.findall(question))
    sources = [_Source(passage, asked) for passage in passages]
    statements: list[Statement] = []
    dropped = 0
    for claim in _with_numbers_of_their_paragraph(list(_claims(text))):
        if claim.kind != "code" and any(claim.text == made.text for made in statements):
            continue
        supporting = _supporting(claim, sources)
        dropped += not supporting
        if supporting:
            span = sources[supporting[0]].span_of(claim.text)
            statements.append(Statement(claim.text, supporting, claim.kind, claim.label, span, claim.block))
    if not statements:
        return Draft((), "What the language model wrote is not supported by the sources.")
    left_out = f"{dropped} statement{'s' * (dropped > 1)} that no source supports left out."
    return Draft(tuple(statements), notes=(left_out,) if dropped else ())


def _supporting(claim: _Claim, sources: "Sequence[_Source]") -> tuple[int, ...]:
    named = [i for i in dict.fromkeys(claim.named) if 0 <= i < len(sources)]
    kept = tuple(i for i in named if sources[i].share_of(claim.text, empty=1.0) >= SUPPORT)
    if kept or not sources:
        return kept
    shares = [source.share_of(claim.text, empty=0.0) for source in sources]
    best = max(range(len(sources)), key=lambda i: (shares[i], -i))
    return (best,) if shares[best] >= SUPPORT_UNNAMED else ()


class _Source:
    """A passage as the model saw it, to compare claims with. `asked` are the question's own figures."""

    def __init__(self, passage: Passage, asked: frozenset[str]) -> None:
        text = quoted(passage)
        self._passage = passage
        self._terms = frozenset(terms(text))
        self._figures = frozenset(_FIGURE.findall(text)) | asked

    def share_of(self, claim: str, *, empty: float) -> float:
        """Share of the claim's terms that the passage has: 0 if it lacks a figure, `empty` without terms."""
        if not self._figures.issuperset(_FIGURE.findall(claim)):
            return 0.0
        wanted = frozenset(terms(claim))
        return len(wanted & self._terms) / len(wanted) if wanted else empty

    def span_of(self, claim: str) -> tuple[int, int] | None:
        """Characters of the sentence or entry that has most of the claim's terms."""
        wanted = frozenset(terms(claim))
        found = [(len(wanted & frozenset(terms(unit.text))), unit) for unit in self._passage.units]
        most, unit = max(found, key=lambda pair: pair[0], default=(0, None))
        return (unit.begin, unit.end) if unit and most else None


def _claims(text: str) -> Iterator[_Claim]:
    """Sentences, entries and blocks of code in their order; `block` numbers paragraphs and lists."""
    block, listed = 0, False
    text = _LABEL.sub("", visible(text).strip(), count=1)
    for part, is_code in _parts(text):
        if is_code:
            block, listed = block + 1, False
            yield _Claim(part.strip("\n"), (), "code", "", block)
            continue
        for line in part.splitlines():
            entry = _ENTRY.match(line)
            if entry is None or not listed:
                block += 1
            listed = entry is not None
            if entry:
                kind: StatementKind = "step" if entry[1] else "item"
                yield from _cleaned(line[entry.end() :], kind, entry[1] or "", block)
            else:
                line = _AFTER_STOP.sub(lambda m: f" {m[2].strip()}{m[1]}", line)
                data = line.encode("utf-8")
                for begin, end in split_sentences(line):
                    yield from _cleaned(data[begin:end].decode("utf-8"), "sentence", "", block)


def _parts(text: str) -> Iterator[tuple[str, bool]]:
    """The text outside of fences, and what stands inside of them."""
    for number, part in enumerate(re.split(r"^\s{0,3}(?:```|~~~)[^\n]*\n?", text, flags=re.MULTILINE)):
        if part.strip():
            yield part, number % 2 == 1


def _cleaned(text: str, kind: StatementKind, label: str, block: int) -> Iterator[_Claim]:
    named = tuple(int(n) - 1 for m in _NUMBERS.finditer(text) for n in re.findall(r"\d+", m[1]))
    shown = plain(_NUMBERS.sub(" ", text.lstrip("#> ")))
    if re.search(r"\w", shown):
        yield _Claim(shown, named, kind, label, block)


def _with_numbers_of_their_paragraph(claims: list[_Claim]) -> list[_Claim]:
    """Sentences before a number in their paragraph rest on it too; code on what introduces it."""
    made: list[_Claim] = []
    named: tuple[int, ...] = ()
    block = -1
    for claim in reversed(claims):
        named = claim.named or (named if claim.block == block and claim.kind == "sentence" else ())
        block = claim.block
        made.append(_Claim(claim.text, named, claim.kind, claim.label, claim.block))
    made.reverse()
    for n in range(1, len(made)):
        if made[n].kind == "code":
            made[n] = _Claim(made[n].text, made[n - 1].named, "code", "", made[n].block)
    return made
