"""Retrieved chunks as passages to read: overlapping neighbours joined, units cut and scored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import TYPE_CHECKING

from taesr.answer.units import Unit, split_units

if TYPE_CHECKING:
    from taesr.collection import Hit


@dataclass(frozen=True)
class Passage:
    """Part of a document, as retrieved, with what is known about its units.

    Attributes
    ----------
    prior
        How well retrieval liked it, 0 to 1: mean over the search heads of its score relative to the
        head's best.
    units, scores
        The quotable pieces and how well each answers the question, 0 to 1; a unit that was not read
        has score 0.
    """

    document: str
    section: str
    title: str
    source: str
    text: str
    prior: float
    units: tuple[Unit, ...]
    scores: tuple[float, ...] = ()

    @property
    def score(self) -> float:
        """Score of the best unit."""
        return max(self.scores, default=0.0)

    @property
    def best_spans(self) -> tuple[tuple[int, int], ...]:
        """Characters of `text` where the best unit stands, as one span; none when nothing was read."""
        if self.score == 0:
            return ()
        best = self.units[self.scores.index(self.score)]
        return ((best.begin, best.end),)

    def section_at(self, spans: Sequence[tuple[int, int]]) -> str:
        """Path of headings that what stands at `spans` has in common."""
        inside = [u.section for u in self.units if any(begin <= u.begin < end for begin, end in spans)]
        paths = [section.split(" > ") for section in inside] or [self.section.split(" > ")]
        return " > ".join(
            names[0] for names in takewhile(lambda n: len(set(n)) == 1, zip(*paths, strict=False))
        )

    def heading_of(self, unit: Unit) -> str:
        """Title and headings above a unit, without saying the title twice."""
        return (
            unit.section
            if unit.section.startswith(self.title)
            else f"{self.title} > {unit.section}".strip(" >")
        )

    def scored(self, scores: Sequence[float]) -> "Passage":
        """The same passage with scores for its units."""
        return replace(self, scores=tuple(scores))


@dataclass
class _Run:
    """Hits, by rank, whose texts overlap or touch, and their text together."""

    ranks: list[int]
    text: bytes
    begin: int


def join_hits(hits: Sequence["Hit"]) -> list[Passage]:
    """Passages for `hits`, in the order of each one's best hit.

    Chunks of one section overlap by design; where two retrieved ones do, they are one passage, so
    that nothing is quoted twice and a list cut by a chunk's end is whole again.
    """
    runs: list[_Run] = []
    for rank in sorted(range(len(hits)), key=lambda i: (hits[i].document, hits[i].begin, i)):
        hit, data = hits[rank], hits[rank].text.encode("utf-8")
        if runs:
            run, last = runs[-1], hits[runs[-1].ranks[-1]]
            overlap = run.begin + len(run.text) - hit.begin
            same = (last.document, last.section) == (hit.document, hit.section)
            if same and 0 < overlap <= len(data) and run.text.endswith(data[:overlap]):
                run.ranks.append(rank)
                run.text += data[overlap:]
                continue
        runs.append(_Run([rank], data, hit.begin))
    tops = {
        head: max(hit.scores.get(head, 0.0) for hit in hits)
        for head in {head for hit in hits for head in hit.scores}
    }
    return [
        _passage(hits[min(run.ranks)], run.text.decode("utf-8"), tops)
        for run in sorted(runs, key=lambda run: min(run.ranks))
    ]


def _passage(best: "Hit", text: str, tops: Mapping[str, float]) -> Passage:
    # Reciprocal ranks hardly differ between neighbours; the heads' own scores say how far apart they are.
    shares = [max(0.0, best.scores.get(head, 0.0)) / top for head, top in tops.items() if top > 0]
    prior = sum(shares) / len(shares) if shares else 0.0
    units = tuple(split_units(text, best.section))
    return Passage(best.document, best.section, best.title, best.source, text, prior, units)
