"""Reads the retrieved passages: how well does each sentence answer the question?"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import numpy.typing as npt

from taesr.answer.passages import Passage, join_hits
from taesr.answer.terms import coverage, term_weights, terms

if TYPE_CHECKING:
    from taesr.collection import Hit

MAX_CANDIDATES = 32  # sentences and procedures embedded for one question
MAX_CHARACTERS = 2800  # of all of them together: about 700 tokens, which is what an answer costs
MAX_CANDIDATE_CHARACTERS = 400  # of one of them: a log pasted into a document must not use up the rest

# Share of each signal in a sentence's score. Little depends on the exact values: with others near them
# the best sentence of SQuAD's development set holds the answer as often, within one point of 80%.
COSINE, HEADING_COSINE, TERMS, HEADING_TERMS, RETRIEVAL = 0.3, 0.1, 0.2, 0.15, 0.25
# What is added or taken away: for a section or a sentence that says what to do, or what is wrong; for a
# sentence that only says where to read on, that says no more than the question, or that is none, being
# the ruins of a list or a table.
REMEDY, COMPLAINT, POINTER, ECHO, RUIN = 0.08, -0.15, -0.2, -0.15, -0.1
ENOUGH_NEWS = 7  # terms that are not in the question

_REMEDY = re.compile(
    r"\b(?:resolution|solution|workaround|fix|remedy|answer|procedure|steps?|method|how to)", re.I
)
_COMPLAINT = re.compile(r"\b(?:symptoms?|problem|issue|question|introduction)\b", re.I)
_REMEDY_SENTENCE = re.compile(r"to (?:work around|resolve|fix|solve|avoid|prevent|correct|repair) ", re.I)
_POINTER = re.compile(
    r"(?i:\b(?:see|read|visit|refer to) (?:also|the following|this|these|how to)\b"
    r"|\bfor (?:more|further|additional) (?:information|details?)\b"
    r"|\bthis (?:article|topic|section|page|document) (?:\w+s|can|will)\b"
    r"|^(?:see|select|applies to)\b.*:)|\bsee [A-Z\"]"
)


@dataclass(frozen=True)
class Evidence:
    """The passages with scored units, best passage first, and the figures that confidence rests on.

    Attributes
    ----------
    weights
        Weight of each of the question's terms.
    best_cosine
        Highest cosine of a sentence with the question.
    unit_coverage, passage_coverage, pool_coverage
        Share of the question's terms, by weight, in the best sentence with its headings, in the best
        passage, and in everything that was retrieved.
    """

    passages: tuple[Passage, ...]
    weights: dict[str, float]
    best_cosine: float
    unit_coverage: float
    passage_coverage: float
    pool_coverage: float


@dataclass(frozen=True)
class _Candidate:
    """A sentence or list entry, or the steps of one procedure, that may be worth embedding.

    `own` and `headed` are the shares of the question's terms in the text, and in the text or the
    headings above it; `news` counts the terms that the question does not have.
    """

    passage: Passage
    units: range
    text: str
    heading: str
    own: float
    headed: float
    news: int

    @property
    def promise(self) -> float:
        """What can be said of the score without embedding anything."""
        return self.own + self.headed + self.passage.prior + _role(self.heading) - 0.01 * self.units[0]

    def score(self, cosine: float, heading_cosine: float) -> float:
        """Score from 0 to 1."""
        parts = (
            COSINE * cosine + HEADING_COSINE * heading_cosine + TERMS * self.own + HEADING_TERMS * self.headed
        )
        parts += RETRIEVAL * self.passage.prior + _role(self.heading)
        parts += REMEDY if _REMEDY_SENTENCE.match(self.text) else 0.0
        parts += POINTER if _POINTER.search(self.text) else 0.0
        parts += RUIN if len(self.text) > MAX_CANDIDATE_CHARACTERS else 0.0
        parts += ECHO * (1 - min(1.0, self.news / ENOUGH_NEWS))
        return max(0.0, min(1.0, parts))


def read(question: str, hits: Sequence["Hit"], encoder: "Embeds", *, k: int) -> Evidence:
    """Scores the sentences of the k best of `hits`.

    The others are what the weights of the question's terms are estimated from, and some of them are
    read as well: see `choose_hits`.
    """
    pool = [frozenset(terms(f"{hit.title} {hit.section} {hit.text}")) for hit in hits]
    weights = term_weights(dict.fromkeys(terms(question)), pool)
    passages = join_hits(choose_hits(hits, k))
    candidates = [candidate for passage in passages for candidate in _candidates(passage, weights)]
    shortlist = _shortlist(candidates)
    cosines, heading_cosines = _cosines(question, shortlist, encoder)
    scores = {id(passage): [0.0] * len(passage.units) for passage in passages}
    for candidate, cosine, heading_cosine in zip(shortlist, cosines, heading_cosines, strict=True):
        for unit in candidate.units:
            scores[id(candidate.passage)][unit] = candidate.score(float(cosine), float(heading_cosine))
    scored = [passage.scored(scores[id(passage)]) for passage in passages]
    return Evidence(
        passages=tuple(sorted(scored, key=lambda passage: -passage.score)),
        weights=weights,
        best_cosine=float(max(cosines, default=0.0)),
        unit_coverage=max((candidate.headed for candidate in candidates), default=0.0),
        passage_coverage=max((coverage(weights, found) for found in pool), default=0.0),
        pool_coverage=coverage(weights, frozenset().union(*pool)),
    )


def choose_hits(hits: Sequence["Hit"], k: int) -> list["Hit"]:
    """The k best hits, and up to three remedies among the others if their documents lead.

    A person describes a symptom, and the section that resembles the question most describes it too;
    the answer stands in another section of that document.
    """
    leading = {hit.document for hit in hits[:3]}
    remedies = [h for h in hits[k:] if h.document in leading and _role(h.section) == REMEDY]
    return [*hits[:k], *remedies[:3]]


def _role(heading: str) -> float:
    last = heading.rsplit(" > ", 1)[-1]
    return REMEDY if _REMEDY.search(last) else COMPLAINT if _COMPLAINT.search(last) else 0.0


def _candidates(passage: Passage, weights: dict[str, float]) -> list[_Candidate]:
    candidates = []
    units = passage.units
    first = 0
    while first < len(units):
        last = first + 1
        if units[first].kind == "step":  # a step says little alone: a procedure is scored as a whole
            while last < len(units) and units[last].block == units[first].block:
                last += 1
        text = " ".join(unit.text for unit in units[first:last])
        if units[first].kind != "code" and not units[first].is_question:
            heading = passage.heading_of(units[first])
            own = frozenset(terms(text))
            headed = coverage(weights, own | frozenset(terms(heading)))
            news = len(own - weights.keys())
            candidates.append(
                _Candidate(passage, range(first, last), text, heading, coverage(weights, own), headed, news)
            )
        first = last
    return candidates


def _shortlist(candidates: list[_Candidate]) -> list[_Candidate]:
    """The candidates that are most likely to matter, within what may be embedded for one question.

    Embedding is nearly all of an answer's cost, so words and ranks choose what is worth it.
    """
    chosen: list[_Candidate] = []
    characters = 0
    for candidate in sorted(candidates, key=lambda c: c.promise, reverse=True):
        length = min(len(candidate.text), MAX_CANDIDATE_CHARACTERS)
        if len(chosen) < MAX_CANDIDATES and characters + length <= MAX_CHARACTERS:
            chosen.append(candidate)
            characters += length
    return chosen


class Embeds(Protocol):
    """What reading needs of an encoder."""

    def encode(
        self, texts: Sequence[str], *, role: Literal["query", "passage"], depth: str | int
    ) -> npt.NDArray[np.float32]:
        """Unit rows [texts, dim], float32."""
        ...


Cosines = npt.NDArray[np.float32]


def _cosines(question: str, candidates: list[_Candidate], encoder: "Embeds") -> tuple[Cosines, Cosines]:
    """Cosines of the question with each candidate, and with the headings above it."""
    if not candidates:
        return np.zeros(0, np.float32), np.zeros(0, np.float32)
    texts = [candidate.text[:MAX_CANDIDATE_CHARACTERS] for candidate in candidates]
    headings = list(dict.fromkeys(candidate.heading for candidate in candidates))
    query = encoder.encode([question], role="query", depth="easy")[0]
    cosines = encoder.encode([*texts, *headings], role="passage", depth="easy") @ query
    by_heading = dict(zip(headings, cosines[len(texts) :], strict=True))
    return cosines[: len(texts)], np.array(
        [by_heading[candidate.heading] for candidate in candidates], np.float32
    )
