"""Answers in the documents' own words: the best sentences, with the steps that belong to them."""

import re
from collections.abc import Sequence

from taesr.answer.passages import Passage
from taesr.answer.terms import terms
from taesr.answer.types import Statement
from taesr.answer.units import Unit

# A further sentence must be nearly as good as the best one, less so where it stands beside it.
RELATIVE_SCORE = 0.87
RELATIVE_SCORE_BESIDE = 0.75
DUPLICATE = 0.6  # two sentences that share this part of their terms say the same
MAX_ENTRIES = 20  # of one list
MAX_FOLLOWING = 4  # sentences after one that introduces them, in text that has lost its list
MAX_SECTION_UNITS, MAX_SECTION_CHARACTERS = 6, 500  # of a section that is quoted whole
MAX_CHARACTERS = 2000

_REFERS_BACK = re.compile(
    r"(?:(?:if|when|after|before|because|since|while|to do|for|in) )?"
    r"(?:this|that|these|those|it|its|they|so)\b"
    r"|(?:then|however|otherwise|also|instead|therefore|additionally|for example)\b",
    re.IGNORECASE,
)

Place = tuple[int, int]  # passage, unit


class ExtractiveGenerator:
    """Chooses sentences by score; invents nothing."""

    def generate(self, question: str, passages: Sequence[Passage], *, max_statements: int) -> list[Statement]:
        """At most `max_statements` sentences in document order; what belongs to one of them comes on top."""
        chosen: list[Place] = []
        for i, j in choose_leads(passages, max_statements):
            first, last = span_of(passages[i].units, j)
            if not chosen or len(_blocks_of(passages, chosen)) < max_statements:
                chosen += [(i, n) for n in range(first, last + 1) if (i, n) not in chosen]
        rank = {i: n for n, i in enumerate(dict.fromkeys(i for i, _ in chosen))}
        chosen.sort(key=lambda place: (rank[place[0]], place[1]))
        return _statements(passages, chosen)


def _blocks_of(passages: Sequence[Passage], places: Sequence[Place]) -> set[tuple[int, int]]:
    """What counts towards the limit: sentences one by one, a list or a block of code as one."""
    units = ((i, j, passages[i].units[j]) for i, j in places)
    return {(i, -unit.block if unit.kind != "sentence" else j + 1) for i, j, unit in units}


def choose_leads(passages: Sequence[Passage], limit: int) -> list[Place]:
    """The best units, best first, without near duplicates."""
    ranked = sorted(
        (
            (score, i, j)
            for i, passage in enumerate(passages)
            for j, score in enumerate(passage.scores)
            if score > 0
        ),
        key=lambda entry: (-entry[0], entry[1], entry[2]),
    )
    leads: list[Place] = []
    seen: list[frozenset[str]] = []
    for score, i, j in ranked:
        if len(leads) == limit:
            break
        beside = any(i == lead[0] for lead in leads)
        if score < (RELATIVE_SCORE_BESIDE if beside else RELATIVE_SCORE) * ranked[0][0]:
            continue
        found = frozenset(terms(passages[i].units[j].text))
        if not any(_say_the_same(found, other) for other in seen):
            leads.append((i, j))
            seen.append(found)
    return leads


def _say_the_same(a: frozenset[str], b: frozenset[str]) -> bool:
    return len(a & b) >= DUPLICATE * max(1, min(len(a), len(b)))


def span_of(units: Sequence[Unit], j: int) -> tuple[int, int]:
    """First and last of the units that are needed to understand unit j.

    A list with the sentence that opens it, whichever of them j is; code or flattened steps after a
    sentence that announces them; the sentence before one that refers back to it.
    """
    first = last = j
    if (whole := _short_section(units, j)) is not None:
        return whole
    if units[j].kind in ("step", "item"):
        start, end = _block(units, j)
        opened = start > 0 and units[start - 1].introduces
        if units[j].kind == "step" or (opened and end - start < MAX_ENTRIES):
            first, last = start - opened, end
    while first > 0 and _needs_the_one_before(units, first) and j - first < 3:
        first -= 1
    if last + 1 < len(units) and units[last + 1].introduces and _needs_the_one_before(units, last + 1):
        last += 1
    if units[last].introduces and last + 1 < len(units):
        last = _end_of_what_follows(units, last)
    return first, last


def _short_section(units: Sequence[Unit], j: int) -> tuple[int, int] | None:
    """The units under j's own heading, when they are few: a how-to is worth more whole than in parts."""
    section = units[j].section
    first = last = j
    while first > 0 and units[first - 1].section == section:
        first -= 1
    while last + 1 < len(units) and units[last + 1].section == section:
        last += 1
    texts = [unit.text for unit in units[first : last + 1]]
    is_short = len(texts) <= MAX_SECTION_UNITS and sum(map(len, texts)) <= MAX_SECTION_CHARACTERS
    return (first, last) if is_short and " > " in section else None


def _block(units: Sequence[Unit], j: int) -> tuple[int, int]:
    first = last = j
    while first > 0 and units[first - 1].block == units[j].block:
        first -= 1
    while last + 1 < len(units) and units[last + 1].block == units[j].block:
        last += 1
    return first, last


def _needs_the_one_before(units: Sequence[Unit], j: int) -> bool:
    before, unit = units[j - 1], units[j]
    return (
        unit.kind == before.kind == "sentence"
        and before.block == unit.block
        and bool(_REFERS_BACK.match(unit.text))
    )


def _end_of_what_follows(units: Sequence[Unit], j: int) -> int:
    following = units[j + 1]
    _, end = _block(units, j + 1)
    if following.kind == "sentence":
        return min(end, j + MAX_FOLLOWING) if following.block == units[j].block else j
    return end


def _statements(passages: Sequence[Passage], chosen: Sequence[Place]) -> list[Statement]:
    statements: list[Statement] = []
    characters = 0
    for i, j in chosen:
        unit = passages[i].units[j]
        characters += len(unit.text)
        if statements and characters > MAX_CHARACTERS:
            # A procedure cut short without saying so would be worse than none.
            statements.append(Statement("The source continues.", (i,)))
            break
        statements.append(
            Statement(unit.text, (i,), unit.kind, unit.label, (unit.begin, unit.end), unit.block)
        )
    return statements
